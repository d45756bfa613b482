"""The gRPC channel: its address, its credentials and its arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import grpc
import grpc.aio

from slimsam_client.errors import SettingsError
from slimsam_client.quoting import quoted_value
from slimsam_client.transport.proxies import is_loopback_url
from slimsam_client.transport.tls import Tls, credentials

MAX_MESSAGE_BYTES: Final = 2**31 - 1
"""A message that is sent has at most so many bytes, by gRPC's own limit and the server's."""
MAX_ANSWER_BYTES: Final = 128 * 2**20
"""An answer has at most so many bytes. The masks of 16 prompts are 8 MiB; records of everything
mode vary with the picture, and ten thousand large masks of it are about as much."""
CONNECT_SECONDS: Final = 5.0
"""A host may take so many seconds to accept a connection."""
PING_SECONDS: Final = 310.0
"""Connections are pinged after so many seconds. gRPC servers, Triton too, close those that are
pinged more often than every 300 s."""
RESOLVE_SECONDS: Final = 5.0
"""A name is looked up again after so many seconds at the earliest, when a server has gone or closed
its connection. gRPC's default is 30 s, which is as long as a request lasts by default: after a
roll-out that has replaced all servers, it would know none of the new ones."""
ACKNOWLEDGE_SECONDS: Final = 20.0
"""If the other host takes more seconds to acknowledge bytes, the connection is given up."""

_ADDRESS: Final = re.compile(r"(?:[^\s/:,]+|\[[0-9a-fA-F:.%]+\]):(\d{1,5})")
_RESOLVERS: Final = ("dns:", "unix:", "xds:")
_LISTS: Final = {"ipv4": 4, "ipv6": 6}
_EXAMPLES: Final = {4: "ipv4:10.0.0.1:8001,10.0.0.2:8001", 6: "ipv6:[fd00::1]:8001,[fd00::2]:8001"}


@dataclass(frozen=True)
class ChannelSettings:
    """The settings of a channel, so that it can be made again.

    Attributes:
        url: host:port, or another name that gRPC resolves, such as unix:/run/triton.sock.
        credentials: credentials of TLS; None for plain text.
        arguments: gRPC's channel arguments.
    """

    url: str
    credentials: grpc.ChannelCredentials | None
    arguments: tuple[tuple[str, Any], ...]

    def make(self) -> grpc.Channel:
        """Make a channel. It connects with its first request."""
        if self.credentials is None:
            return grpc.insecure_channel(self.url, self.arguments)
        return grpc.secure_channel(self.url, self.credentials, self.arguments)

    def make_async(self) -> grpc.aio.Channel:
        """Make a channel for the running event loop."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.url, self.arguments)
        return grpc.aio.secure_channel(self.url, self.credentials, self.arguments)


def channel_settings(url: str, tls: bool | Tls, one_server: bool = False) -> ChannelSettings:
    """Give the settings of channels to an address.

    Args:
        url: host:port, or another name that gRPC resolves.
        tls: False for plain text, True for TLS with gRPC's root certificates, or its files.
        one_server: whether all requests must go to one server, if the name leads to several.

    Raises:
        SettingsError: `url` is no such address, or a file of `tls` cannot be used.
    """
    _check_address(url, one_server)
    if not isinstance(tls, bool | Tls):
        raise SettingsError(
            f"tls: expected True, False or Tls, got {quoted_value(tls)}; "
            "name files with Tls(root_certificates='ca.pem')"
        )
    arguments: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        # It allows identity alone: compressed answers are unpacked before their length is checked.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        # By short backoffs, a server that was restarted is soon found again.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.dns_min_time_between_resolutions_ms", int(RESOLVE_SECONDS * 1000)),
        # gRPC calls so how long an attempt to connect may take; its default is 20 s.
        ("grpc.min_reconnect_backoff_ms", int(CONNECT_SECONDS * 1000)),
        # By default all channels of a process with the same arguments share connections: a channel
        # that is made anew would find itself on the dead connection of another.
        ("grpc.use_local_subchannel_pool", 1),
        # A firewall that forgot a connection drops what is sent on it. Linux then gives it up after
        # the keepalive timeout (TCP_USER_TIMEOUT, which gRPC sets where keepalive is on). Pings are
        # so rare that servers allow them; requests of minutes are under way without one.
        ("grpc.keepalive_time_ms", int(PING_SECONDS * 1000)),
        ("grpc.keepalive_timeout_ms", int(ACKNOWLEDGE_SECONDS * 1000)),
    ]
    if not one_server:
        balanced = '{"loadBalancingConfig": [{"round_robin": {}}]}'
        arguments.append(("grpc.service_config", balanced))
    if is_loopback_url(url):  # no proxy leads to this machine's own loopback
        arguments.append(("grpc.enable_http_proxy", 0))
    creds = None
    if tls:
        creds = credentials(Tls() if tls is True else tls)
    return ChannelSettings(url, creds, tuple(arguments))


def _check_address(url: str, one_server: bool) -> None:
    found = None
    if isinstance(url, str):
        if one_server and "," in url:
            raise SettingsError(
                f"shared_memory: expected an address of one server, got {url!r}; a region is "
                "registered with one server: make a client for each, or do without shared_memory"
            )
        scheme, _, rest = url.partition(":")
        if scheme in _LISTS:
            _check_list(url, rest.removeprefix("///").split(","), _LISTS[scheme])
            return
        if url.startswith(_RESOLVERS):
            return
        found = _ADDRESS.fullmatch(url)
    # gRPC takes a URL for a host's name, and a port modulo 65536.
    if found is None or not 0 < int(found[1]) < 2**16:
        raise SettingsError(
            "url: expected host:port of Triton's gRPC service, such as localhost:8001, "
            f"got {quoted_value(url)}"
        )


def _check_list(url: str, addresses: list[str], version: int) -> None:
    for address in addresses:
        found = _ADDRESS.fullmatch(address)
        given: int | None
        try:
            given = ip_address(address.rpartition(":")[0].strip("[]")).version
        except ValueError:
            given = None
        if found is None or not 0 < int(found[1]) < 2**16 or given != version:
            raise SettingsError(
                f"url: expected numeric addresses of IPv{version} with ports, separated by commas, "
                f"such as {_EXAMPLES[version]}, got {quoted_value(address)} in {quoted_value(url)}"
            )
