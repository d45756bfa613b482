"""The IP addresses of a host, and whether they are public."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")


async def addresses_of(host: str, port: int) -> list[str]:
    """Look a host up.

    Raises:
        OSError: it has no address, or nobody knows.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def is_public(text: str) -> bool:
    """Whether an IP address is of the internet, and of no machine or network of one's own.

    An IPv6 address that stands for an IPv4 address is what that is.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        within = _within(address)
        if within is not None:
            return is_public(str(within))
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _within(address: IPv6Address) -> IPv4Address | None:
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
