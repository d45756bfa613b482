"""`Routes`: which of a list of addresses the requests on one picture go to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Generic, TypeVar

from slimsam_client.transport.channel import ChannelSettings
from slimsam_client.transport.exchange import Attempt

L = TypeVar("L")

LISTS: Final = ("ipv4:", "ipv6:")


class Routes(Generic[L]):
    """The links of a client: those to any server, and to each address of a list.

    Args:
        settings: of the channel that takes turns.
        make: makes the links of a channel's settings; they connect when they are used.

    Attributes:
        any: the links for what any server may answer.
    """

    def __init__(self, settings: ChannelSettings, make: Callable[[ChannelSettings], L]) -> None:
        self.any = make(settings)
        self._each = {
            address: make(replace(settings, url=address)) for address in addresses_of(settings.url)
        }

    def all(self) -> list[L]:
        """Give all links, to be closed."""
        return [self.any, *self._each.values()]

    def of(self, attempt: Attempt) -> list[L]:
        """Give the links that a request tries, each of them if the one before reaches no server."""
        if attempt.image_key is None or not self._each:
            return [self.any]
        order = ranked(attempt.image_key, list(self._each))
        first = attempt.turn % len(order)
        return [self._each[address] for address in (*order[first:], *order[:first])]


def addresses_of(url: str) -> list[str]:
    """Give each address of a list, as an address of its own; none of what is no list."""
    scheme = next(filter(url.startswith, LISTS), "")
    parts = url[len(scheme) :].lstrip("/").split(",")
    if not scheme or len(parts) == 1:
        return []
    return [scheme + part for part in dict.fromkeys(parts)]


def ranked(image_key: str, addresses: Sequence[str]) -> list[str]:
    """Give addresses in the order in which a picture's requests prefer them.

    This is rendezvous hashing (Thaler and Ravishankar, 1998): every client has the same order,
    however its list is sorted, pictures are spread over all addresses, and one that is taken out
    of the list, or added, moves only the pictures that prefer it.
    """

    def weight(address: str) -> bytes:
        return hashlib.sha256(f"{image_key} {address}".encode()).digest()

    return sorted(addresses, key=weight, reverse=True)
