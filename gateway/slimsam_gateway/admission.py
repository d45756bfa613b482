"""How many requests are under way at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from slimsam_gateway.problems import FULL, Problem


class Admission:
    """Takes so many requests at once, and refuses others at once.

    A queue here would only hide from callers how long they wait: the server has one.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.active = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Problem: there is none.
        """
        if self.active >= self._most:
            raise Problem(FULL, f"{FULL.title}; {FULL.advice}")
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
