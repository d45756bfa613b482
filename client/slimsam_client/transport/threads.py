"""Threads that work for the main thread, whose waits an interrupt may end anywhere.

Ctrl-C ends whatever Python code the main thread runs. gRPC, like `concurrent.futures`, waits with
`threading.Condition`, and one that is ended between taking its lock and the body that gives it back
(`Condition.__enter__`) keeps it for good: the thread that brings all answers waits for it, and no
later request ends, whatever its timeout. So the main thread waits in C alone, for a SimpleQueue.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

J = TypeVar("J")
T = TypeVar("T")

LOOK: Final = 0.2
"""Seconds after which a wait looks for what cannot end it: for signals, as on Windows, and whether
a client has been closed."""


def apart(work: Callable[[], T], cancel: Callable[[], object]) -> T:
    """Do something in another thread, if this is the main one, and give what it comes to.

    Args:
        work: what is to be done, in a copy of this thread's context.
        cancel: ends it early; it is called, in a thread too, if the wait is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    outcomes: SimpleQueue[T | BaseException] = SimpleQueue()
    try:
        _start(lambda: outcomes.put(_outcome(work)))
        outcome: T | BaseException = _next(outcomes)
    except BaseException:
        _start(cancel)
        raise
    if isinstance(outcome, BaseException):
        try:
            raise outcome
        finally:
            del outcome  # its traceback has this frame, which would hold it in turn
    return outcome


def side_by_side(
    work: Callable[[J], T],
    jobs: Sequence[J],
    threads: int,
    cancel: Callable[[], object],
) -> list[T | BaseException]:
    """Do something for each of several jobs in other threads, and give what each comes to.

    Args:
        work: what is to be done, in a copy of this thread's context.
        jobs: the jobs.
        threads: how many are under way at once.
        cancel: ends those under way; it is called if the wait is interrupted. Further ones are not
            begun then, and nobody waits for the threads, which end by themselves.
    """
    waiting: SimpleQueue[tuple[int, J]] = SimpleQueue()
    for job in enumerate(jobs):
        waiting.put(job)
    ended: SimpleQueue[tuple[int, T | BaseException]] = SimpleQueue()
    interrupted: list[bool] = []

    def do_jobs() -> None:
        while not interrupted:
            try:
                index, job = waiting.get_nowait()
            except Empty:
                return
            context = contextvars.copy_context()
            ended.put((index, context.run(_outcome, partial(work, job))))

    try:
        for _ in range(min(threads, len(jobs))):
            _start(do_jobs)
        outcomes = dict(_next(ended) for _ in jobs)
    except BaseException:
        interrupted.append(True)
        _start(cancel)
        raise
    return [outcomes[index] for index in range(len(jobs))]


def _start(work: Callable[[], object]) -> None:
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="slimsam", daemon=True).start()


def _outcome(work: Callable[[], T]) -> T | BaseException:
    try:
        return work()
    except BaseException as error:
        return error


def _next(queue: SimpleQueue[Any]) -> Any:
    while True:
        try:
            return queue.get(timeout=LOOK)
        except Empty:
            continue
