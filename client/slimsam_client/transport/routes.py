"""`Routes`: which of a list of addresses the requests on one picture go to."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, Generic, TypeVar

from slimsam_client.transport.channel import ChannelSettings
from slimsam_client.transport.exchange import Attempt
from slimsam_client.transport.links import SILENT_SECONDS
from slimsam_client.transport.status import Status

L = TypeVar("L")

LISTS: Final = ("ipv4:", "ipv6:")
SILENT_AGAIN: Final = 30.0
"""An address that let a request time out is asked last for so many seconds, or until it answers;
then one request looks whether it does."""


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
        # In seconds of time.monotonic: when an address was last asked that has said nothing, and
        # when one last said something.
        self._silent: dict[L, float] = {}
        self._heard: dict[L, float] = {}

    def all(self) -> list[L]:
        """Give all links, to be closed."""
        return [self.any, *self._each.values()]

    def of(self, attempt: Attempt) -> list[L]:
        """Give the links that a request tries, each of them if the one before reaches no server."""
        if attempt.image_key is None or not self._each:
            return [self.any]
        now = time.monotonic()
        order = [self._each[address] for address in ranked(attempt.image_key, list(self._each))]
        order.sort(key=lambda links: now - self._silent.get(links, -math.inf) < SILENT_AGAIN)
        first = attempt.turn % len(order)
        order = [*order[first:], *order[:first]]
        if order[0] in self._silent:
            self._silent[order[0]] = now
        return order

    @contextmanager
    def watching(self, links: L) -> Iterator[None]:
        """Note how a request on these links ends, which is made in this context."""
        began = time.monotonic()
        try:
            yield
        except Status as status:
            now = time.monotonic()
            if status.code == "DEADLINE_EXCEEDED":
                # There are timeouts shorter than any answer, and some work takes longer than
                # others' that is answered meanwhile.
                if now - began >= SILENT_SECONDS and self._heard.get(links, -math.inf) < began:
                    self._silent[links] = now
            elif status.code != "CANCELLED" and not status.not_reached:
                self._note_heard(links)
            raise
        self._note_heard(links)

    def _note_heard(self, links: L) -> None:
        self._heard[links] = time.monotonic()
        self._silent.pop(links, None)


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
