"""How many requests are under way at once, and how many bytes they have brought."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from slimsam_gateway.problems import FULL, Problem

SMALL_BYTES: Final = 2**20
"""What has at most so many bytes is not counted: no click and no usual photo waits for large ones,
and as many of them as there are places take less memory than what is counted."""
Take = Callable[[int], None]
"""Takes room for so many bytes more, or raises a Problem."""


class Admission:
    """Takes so many requests and so many bytes at once, and refuses others at once.

    A queue here would only hide from callers how long they wait: the server has one.

    Args:
        most: how many requests.
        most_bytes: how many bytes of bodies and pictures that have more than `SMALL_BYTES`.

    Attributes:
        active: requests under way.
        active_bytes: bytes that are counted.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self.active = self.active_bytes = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Problem: there is none.
        """
        if self.active >= self._most:
            raise _full()
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    @contextmanager
    def room(self) -> Iterator[Take]:
        """Hold the room for bytes that is taken by what this gives.

        It raises a Problem where there is none, unless nobody else has any: what is within the
        other limits would else never be let in.
        """
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count <= SMALL_BYTES:
                return
            if self.active_bytes > taken and self.active_bytes + count > self._most_bytes:
                raise _full()
            self.active_bytes += count
            taken += count

        try:
            yield take
        finally:
            self.active_bytes -= taken


def _full() -> Problem:
    return Problem(FULL, f"{FULL.title}; {FULL.advice}")
