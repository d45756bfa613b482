"""The gRPC channel: its address and its arguments."""

from __future__ import annotations

import re
from typing import Any, Final

from slimsam_client.errors import SettingsError
from slimsam_client.tls import Tls, credentials

MAX_MESSAGE_BYTES: Final = 2**31 - 1
"""gRPC's own limit, and the server's. Passing any channel argument drops tritonclient's."""
CONNECT_SECONDS: Final = 5.0
"""How long a host may take to accept a connection."""

_ADDRESS: Final = re.compile(r"(?:[^\s/:]+|\[[0-9a-fA-F:.%]+\]):(\d{1,5})")
_RESOLVERS: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "xds:")


def channel(url: str, ssl: bool | Tls) -> dict[str, Any]:
    """Give the arguments that either client of tritonclient takes.

    Args:
        url: host:port, or another name that gRPC resolves, such as unix:/run/triton.sock.
        ssl: False for plain text, True for TLS with gRPC's root certificates, or its files.

    Raises:
        SettingsError: `url` is no such address, or a file of `ssl` cannot be used.
    """
    _check_address(url)
    arguments: dict[str, Any] = {
        "url": url,
        "channel_args": [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # A server that was restarted is soon found again.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # So gRPC calls how long an attempt may take, which is 20 s where nothing is said.
            ("grpc.min_reconnect_backoff_ms", int(CONNECT_SECONDS * 1000)),
        ],
    }
    if ssl:
        arguments["creds"] = credentials(Tls() if ssl is True else ssl)
    return arguments


def _check_address(url: str) -> None:
    if url.startswith(_RESOLVERS):
        return
    found = _ADDRESS.fullmatch(url)
    # gRPC takes a URL for a host's name, and a port modulo 65536.
    if found is None or not 0 < int(found[1]) < 2**16:
        raise SettingsError(
            f"url: expected host:port of Triton's gRPC service, such as localhost:8001, got {url!r}"
        )
