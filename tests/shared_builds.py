"""What takes long to build, once for all processes that run the tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def built_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object], part: str = ""
) -> Path:
    """Give a directory that one of the processes makes, while the others wait for it.

    Args:
        factory: knows the directory of the run.
        name: the directory's name in it. Nobody may change what lies there.
        make: makes it, or a part of it.
        part: which part, if there are several; one is made after the other.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a directory in that of the run
        root = root.parent
    directory, done = root / name, root / f"{name}.{part}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(directory)
            done.touch()
    return directory
