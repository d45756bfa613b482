"""HTTP proxies between this process and a server, as gRPC takes them from the environment."""

from __future__ import annotations

import ipaddress
import os
from typing import Final
from urllib.parse import urlsplit

_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy")


def is_loopback_url(url: str) -> bool:
    """Whether an address is this machine's own, to which no proxy can lead."""
    host = _host(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def proxy_of(url: str) -> str | None:
    """Name the variable and the proxy through which gRPC reaches an address; None if directly."""
    if url.startswith("unix") or is_loopback_url(url):
        return None
    name = next((name for name in _VARIABLES if os.environ.get(name)), None)
    if name is None or _is_excepted(_host(url)):
        return None
    proxy = urlsplit(os.environ[name])
    # The user and the password are secret, and left out.
    return f"{proxy.netloc.rpartition('@')[2] or '?'} ({name})"


def _host(url: str) -> str:
    _, _, last = url.rpartition("/")
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        last = last.removeprefix(scheme)
    return last.split(",")[0].rpartition(":")[0].strip("[]").lower()


def _is_excepted(host: str) -> bool:
    listed = next((os.environ[name] for name in _EXCEPTIONS if os.environ.get(name)), "")
    for entry in filter(None, map(str.strip, listed.lower().split(","))):
        if host.endswith(entry):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # a name
    return False
