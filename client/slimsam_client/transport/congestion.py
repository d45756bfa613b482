"""`CongestionWindow`: how many of a client's requests a server in trouble gets at once."""

from __future__ import annotations

import math
import threading

from slimsam_client.transport.forks import begins_anew_after_fork
from slimsam_client.transport.status import Status


class CongestionWindow:
    """The requests of one client that may be under way in one queue of a model.

    Their number has no bound until the model is away or the queue full. Then the window is halved,
    down to one, by each attempt that was not taken, and grows by one with each answer, as TCP does
    it in slow start (RFC 5681, section 3.1). A request that backs off stays in the window if it has
    room for it. So a fleet of clients does not bury a server that comes back under all that they
    have waited with, and one that is busy is not kept so by repetitions.

    Attributes:
        reason: the status that halved the window last; None if nothing has.
    """

    def __init__(self) -> None:
        self.reason: Status | None = None
        self._begin()
        begins_anew_after_fork(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._size = math.inf
        self._inside = 0

    def forget_parent(self) -> None:
        """Drop the requests that are the parent's."""
        self._begin()

    def enter(self) -> bool:
        """Let a request in, unless the window is full."""
        with self._lock:
            if self._inside >= self._size:
                return False
            self._inside += 1
            return True

    def shrink(self, reason: Status) -> bool:
        """Halve the window, because an attempt of a request inside was not taken.

        Returns:
            Whether the request stays inside.
        """
        with self._lock:
            self.reason = reason
            self._size = max(1.0, min(self._size, self._inside) // 2)
            stays = self._inside <= self._size
            self._inside -= not stays
            return stays

    def leave(self, answered: bool) -> None:
        """Let a request out, and the window grow if it was answered."""
        with self._lock:
            self._size += answered
            self._inside -= 1
