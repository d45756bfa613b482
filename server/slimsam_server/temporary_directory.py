"""A server's temporary directory, and the removal of what killed servers have left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PREFIX: Final = "slimsam-serve-"
SHARED_MEMORY: Final = Path("/dev/shm")
LOCK: Final = "lock"
"""A file that the owner keeps locked: the kernel unlocks it when the owner ends."""
YOUNG_SECONDS: Final = 60
"""A directory this young may be one that its owner is about to lock."""


class TemporaryDirectory:
    """A directory of this process's, and a name for the server's shared memory.

    Attributes:
        path: the directory.
        shm_prefix: how the names of its shared-memory regions begin.

    Raises:
        OSError: none can be made.
    """

    def __init__(self) -> None:
        remove_leftovers()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.shm_prefix = _shm_prefix(self.path)
        try:
            self._lock = (self.path / LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except BaseException:  # a full disk; without a lock, nobody would remove it
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def remove(self) -> None:
        """Remove the directory and the regions."""
        _remove(self.path)
        self._lock.close()


def remove_leftovers() -> None:
    """Remove directories and shared memory of servers that were killed."""
    # What another user owns, or somebody else removes meanwhile, is left to them.
    with contextlib.suppress(OSError):
        for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError), _lock_of_the_dead(directory):
                _remove(directory)


@contextlib.contextmanager
def _lock_of_the_dead(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory whose owner has ended; OSError for any other directory."""
    status = directory.lstat()
    ours = status.st_uid == os.getuid() and re.fullmatch(f"{PREFIX}[a-z0-9_]{{8}}", directory.name)
    if not ours or time.time() - status.st_mtime < YOUNG_SECONDS:
        raise PermissionError
    with (directory / LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _shm_prefix(directory: Path) -> str:
    return f"slimsam_{directory.name.removeprefix(PREFIX)}"


def remove_regions(prefix: str) -> None:
    """Remove the shared memory whose names begin so."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _remove(directory: Path) -> None:
    remove_regions(_shm_prefix(directory))
    shutil.rmtree(directory, ignore_errors=True)
