"""How fast a batch goes, and how long it has to go: all workers together."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

WINDOW: Final = 300.0
"""The pace is that of the last so many seconds."""


class Pace:
    """Pictures a second, from how many were done when.

    Args:
        total: all pictures of the batch.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._counts: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float | None = None) -> None:
        """Note how many pictures are done; `now` is in seconds of a clock that never goes back."""
        now = time.monotonic() if now is None else now
        self._counts.append((now, done))
        while len(self._counts) > 2 and now - self._counts[1][0] >= WINDOW:
            self._counts.popleft()

    @property
    def per_second(self) -> float:
        """Pictures a second; 0 as long as nothing is known."""
        if len(self._counts) < 2:
            return 0.0
        (start, before), (end, done) = self._counts[0], self._counts[-1]
        return max(done - before, 0) / (end - start) if end > start else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it goes on at this pace; None as long as nothing is known."""
        if not self._counts or not self.per_second:
            return None
        return (self._total - self._counts[-1][1]) / self.per_second

    def __str__(self) -> str:
        """Say it in a line."""
        done = self._counts[-1][1] if self._counts else 0
        line = f"{done} of {self._total} images, {self.per_second:.1f} a second"
        left = self.seconds_left
        return line if left is None else f"{line}, {_span(left)} left"


def _span(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
