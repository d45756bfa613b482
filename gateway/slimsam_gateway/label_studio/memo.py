"""Which picture the server keeps for an address: bounded, and of no consequence if it is lost."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from slimsam_client.relay import KeptImage

MOST: Final = 1024


@dataclass(frozen=True)
class Known:
    """A picture that was sent.

    Attributes:
        etag: its etag at its origin; None if that gives none.
        digest: the SHA-256 of its file.
        kept: what the server keeps.
    """

    etag: str | None
    digest: bytes
    kept: KeptImage


class Memo:
    """The pictures of the addresses that were asked for last."""

    def __init__(self, most: int = MOST) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._most = most

    def get(self, url: str) -> Known | None:
        """Give what is known of an address."""
        if url in self._known:
            self._known.move_to_end(url)
        return self._known.get(url)

    def put(self, url: str, known: Known) -> None:
        """Know it, and forget what was not asked for the longest."""
        self._known[url] = known
        self._known.move_to_end(url)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
