"""A discrete-event engine: a clock, processes that wait, processors that are shared, and queues.

A process is a generator that yields what it waits for and is sent what comes of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator
from itertools import count
from typing import Any, Final, Generic, TypeVar

Resume = Callable[[Any], None]
Wait = Callable[[Resume], None]
"""Something to wait for: it calls back, once, with what comes of it."""
Process = Generator[Wait, Any, None]
Item = TypeVar("Item")

SERVED: Final = "served"
FULL: Final = "full"


class Clock:
    """Simulated time, in seconds, and what happens in it.

    Attributes:
        now: the time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()  # events of one moment happen in the order in which they were set

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Let something happen at a time, which has not passed."""
        heapq.heappush(self._events, (when, next(self._numbers), act))

    def wait(self, seconds: float) -> Wait:
        """Wait for so long."""
        return lambda resume: self.at(self.now + seconds, lambda: resume(None))

    def run(self) -> None:
        """Let everything happen, until nothing is left that could."""
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()


def start(process: Process) -> None:
    """Run a process up to where it waits; what it waits for goes on with it."""

    def go_on(value: Any) -> None:
        try:
            wait = process.send(value)
        except StopIteration:
            return
        wait(go_on)

    go_on(None)


def fork(process: Process) -> Wait:
    """Start a process, and give what waits for its end."""
    ended = False
    waiting: list[Resume] = []

    def whole() -> Process:
        nonlocal ended
        yield from process
        ended = True
        for resume in waiting:
            resume(None)

    def wait(resume: Resume) -> None:
        if ended:
            resume(None)
        else:
            waiting.append(resume)

    start(whole())
    return wait


class Processor:
    """A machine's cores, or a card, that whatever runs there shares.

    Each piece of work alone keeps a share of it busy. Where those together are more than all of it,
    all are slowed by the same factor, as a fair scheduler does it.

    Args:
        clock: the clock.
        crowding: how much more work there is to do while more than all of it is asked for, of what
            there is for each alone: caches, and threads that wait for each other.
    """

    def __init__(self, clock: Clock, crowding: float = 1.0) -> None:
        self._clock = clock
        self._crowding = crowding
        self._done = 0.0  # seconds that any work has had since the beginning, had it run alone
        self._since = 0.0  # when _done was right
        self._demand = 0.0
        self._ends: list[tuple[float, int, float, Resume]] = []
        self._numbers = count()
        self._version = 0

    def work(self, seconds: float, share: float) -> Wait:
        """Work for so many seconds, if alone, on so much of the processor, from 0 to 1."""

        def begin(resume: Resume) -> None:
            self._pass()
            entry = (self._done + seconds, next(self._numbers), share, resume)
            heapq.heappush(self._ends, entry)
            self._demand += share
            self._expect()

        return begin

    @property
    def demand(self) -> float:
        """What all work under way would keep busy, in whole processors."""
        return self._demand

    def _slowness(self) -> float:
        return self._demand * self._crowding if self._demand > 1 else 1.0

    def _pass(self) -> None:
        self._done += (self._clock.now - self._since) / self._slowness()
        self._since = self._clock.now

    def _expect(self) -> None:
        """Set the next end; what was expected before is no more."""
        self._version += 1
        if self._ends:
            version = self._version
            left = max(0.0, self._ends[0][0] - self._done) * self._slowness()
            self._clock.at(self._clock.now + left, lambda: self._end(version))

    def _end(self, version: int) -> None:
        if version != self._version:
            return
        self._pass()
        self._done, _, share, resume = heapq.heappop(self._ends)
        self._demand = self._demand - share if self._ends else 0.0
        self._expect()
        resume(None)


class Station(Generic[Item]):
    """A model of Triton's: its instances, and the bounded queue before them.

    Whatever waits when an instance is free goes together, up to a batch, and all of it is answered
    together; nobody waits for company.

    Args:
        instances: how many batches are under way at once.
        max_batch: requests in a batch.
        max_queue: requests that may wait; None for any number.
        execute: what an instance does with a batch.
    """

    def __init__(
        self,
        instances: int,
        max_batch: int,
        max_queue: int | None,
        execute: Callable[[list[Item]], Process],
    ) -> None:
        self._idle = instances
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._execute = execute
        self._queue: deque[tuple[Item, Resume]] = deque()

    def ask(self, item: Item) -> Wait:
        """Ask for an answer, which is SERVED, or FULL at once."""

        def enqueue(resume: Resume) -> None:
            full = self._max_queue is not None and len(self._queue) >= self._max_queue
            if full and not self._idle:
                resume(FULL)
                return
            self._queue.append((item, resume))
            self._look()

        return enqueue

    def _look(self) -> None:
        while self._idle and self._queue:
            size = min(len(self._queue), self._max_batch)
            self._idle -= 1
            start(self._serve([self._queue.popleft() for _ in range(size)]))

    def _serve(self, batch: list[tuple[Item, Resume]]) -> Process:
        yield from self._execute([item for item, _ in batch])
        self._idle += 1
        for _, resume in batch:
            resume(SERVED)
        self._look()
