"""Processors of their own for the server and for its users, as on two machines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def servers_processors() -> Iterator[tuple[set[int], set[int]]]:
    """Start servers on the first half of this process's processors, and go to the second half.

    What is started within the block inherits the first half. After it, every thread of this
    process is on the second half, those of gRPC included, until `all_processors`. A lone processor
    is shared.

    Yields:
        The numbers of the servers' processors, and of this process's after the block.
    """
    mine = sorted(os.sched_getaffinity(0))
    half = len(mine) // 2
    servers, users = set(mine[:half] or mine), set(mine[half:])
    _move(servers)
    try:
        yield servers, users
    finally:
        _move(users)


@contextmanager
def all_processors() -> Iterator[None]:
    """Be back on this process's processors of now after the block."""
    mine = os.sched_getaffinity(0)
    try:
        yield
    finally:
        _move(mine)


def _move(processors: Set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), processors)
        except ProcessLookupError:
            pass  # it has ended
