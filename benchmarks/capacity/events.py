"""A discrete-event engine: a clock, processes that wait, processors that are shared, and queues.

A process is a generator that yields what it waits for and is sent what comes of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
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


@dataclass
class _Work:
    """Work under way: seconds left, if alone; share; weight; how fast it goes; who waits for it."""

    left: float
    share: float
    weight: float
    resume: Resume
    speed: float = 1.0


class Processor:
    """A machine's cores, or a card, that whatever runs there shares.

    Each piece of work alone keeps a share of it busy. Where those together are more than all of it,
    each is slowed to the same part of its share times its weight, and none gets more than its
    share: what such a one leaves is for the others.

    Args:
        clock: the clock.
        crowding: how much longer work takes while more than all of it is asked for than its part
            of the processor says: caches, and threads that wait for each other.
    """

    def __init__(self, clock: Clock, crowding: float = 1.0) -> None:
        self._clock = clock
        self._crowding = crowding
        self._works: list[_Work] = []
        self._since = 0.0  # when what is left of them was right
        self._version = 0

    def work(self, seconds: float, share: float, weight: float = 1.0) -> Wait:
        """Work for so many seconds, if alone, on so much of the processor, from 0 to 1.

        Args:
            seconds: if nothing else is under way.
            share: that it keeps busy then.
            weight: of it while more is asked for than there is.
        """

        def begin(resume: Resume) -> None:
            self._pass()
            self._works.append(_Work(seconds, share, weight, resume))
            self._expect()

        return begin

    def _pass(self) -> None:
        passed = self._clock.now - self._since
        self._since = self._clock.now
        for work in self._works:
            work.left -= passed * work.speed

    def _set_speeds(self) -> None:
        if sum(work.share for work in self._works) <= 1:
            for work in self._works:
                work.speed = 1.0
            return
        left = 1 / self._crowding
        weights = sum(work.share * work.weight for work in self._works)
        for work in sorted(self._works, key=lambda work: -work.weight):
            work.speed = min(1.0, left * work.weight / weights) if weights > 0 else 1.0
            if work.speed == 1.0:
                left -= work.share
                weights -= work.share * work.weight

    def _expect(self) -> None:
        """Set the next end; what was expected before is no more."""
        self._set_speeds()
        self._version += 1
        if self._works:
            version = self._version
            first = min(self._works, key=lambda work: work.left / work.speed)
            end = self._clock.now + max(0.0, first.left / first.speed)
            self._clock.at(end, lambda: self._end(version, first))

    def _end(self, version: int, work: _Work) -> None:
        if version != self._version:
            return
        self._pass()
        self._works.remove(work)
        self._expect()
        work.resume(None)


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
