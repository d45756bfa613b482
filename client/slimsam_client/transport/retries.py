"""The retry policy: when a request is sent again, and after what backoff.

gRPC's own retry policy (grpc/proposal A6) is not used: it ends after five attempts, which a restart
of a server outlasts, and it makes those who have the wrong address wait as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from slimsam_client.transport.status import Status

INITIAL_BACKOFF: Final = 0.1
MAX_BACKOFF: Final = 2.0
MAX_BUSY_BACKOFF: Final = 10.0
"""A refused request has cost its bytes on the wire, so a busy server is asked less often."""
MAX_BROKEN: Final = 1
"""A request is not sent again if more connections than this broke with it under way, or models'
processes died: it may be the reason, and would end one after the other. A server that stops breaks
one, too."""
REVIVAL_SECONDS: Final = 10.0
"""How long a model whose process has died is given: a supervisor has stopped its server by then.
Triton by itself starts no such process again."""


def backoffs(longest: float = MAX_BACKOFF) -> Iterator[float]:
    """Give the seconds to wait before each further attempt, without end.

    They double up to a limit, and are jittered, so that the clients of a server that comes back
    do not all arrive at once.

    Args:
        longest: the limit, in seconds.
    """
    backoff = INITIAL_BACKOFF
    while True:
        yield backoff * random.uniform(0.5, 1.0)
        backoff = min(2 * backoff, longest)


class Breakages:
    """How often something broke with a request under way: a connection, or a model's process.

    Args:
        count: how often that is taken to have happened before.

    Attributes:
        count: how often, up to now.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._dead_since: float | None = None

    def note(self, status: Status, now: float) -> None:
        """Take the status in which an attempt ended.

        A model whose process has died gives the same answer until its server is started again, so
        such answers in a row are of one death, for `REVIVAL_SECONDS`, and so is the connection that
        breaks as that server is stopped.

        Args:
            status: the status.
            now: the time, in seconds of time.monotonic.
        """
        if not status.stub_died:
            self.count += status.broke and self._dead_since is None
            self._dead_since = None
        elif self._dead_since is None:
            self._dead_since = now
            self.count += 1
        elif now - self._dead_since > REVIVAL_SECONDS:
            self.count = MAX_BROKEN + 1


def should_retry(status: Status, broken: int, answered: bool) -> bool:
    """Whether a request may be sent again.

    Args:
        status: the status that it ended in.
        broken: how many connections have broken with it under way, this one included, and how many
            models' processes have died.
        answered: whether the server has ever answered: one that never did is probably not there,
            and that is said at once. Who broke a connection was there; and in a forked process
            gRPC 1.67 may shut a new connection down in place of one of its parent's.
    """
    there = answered or status.busy or status.broke
    return status.is_transient and there and broken <= MAX_BROKEN
