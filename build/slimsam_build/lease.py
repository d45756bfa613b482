"""A lease on a directory that several machines share, such as a volume of a cluster.

One holder at a time, by files that are made with O_EXCL, which shared file systems make for one
of many (NFS from version 3 on). No clock is compared with another's: a holder renews its lease by
touching it, and who waits takes it for dead when the lease has not changed for `seconds` of the
waiter's own clock.

A lease is the highest of numbered files: NAME.1, NAME.2, ... Whoever finds the highest free or dead
makes the next number, which one alone can; nothing is removed that anybody might hold. A holder
that was taken for dead, since its machine stood still, finds a higher number at its next renewal,
and has to stop.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from slimsam_build.errors import RepositoryError

RENEWALS: Final = 12
"""A holder renews so many times within the seconds after which it is taken for dead."""
FREE: Final = b"free\n"


@dataclass(frozen=True)
class _State:
    """What a waiter sees; equal states are of a holder that has not renewed."""

    number: int
    free: bool
    renewed: int


class Lease:
    """Waits for a lease, and holds it until the end of the `with`.

    Args:
        path: names the lease, in a directory that all holders share.
        seconds: after so many without renewal a holder is taken for dead. More than the seconds for
            which the file system shows old metadata, which are up to 60 on NFS.
        lost: called, by another thread, if somebody else has taken this lease.
        waits: called once if another holder has it, with what is waited for.
    """

    def __init__(
        self,
        path: Path,
        seconds: float,
        lost: Callable[[], object],
        waits: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._path = path
        self._seconds = seconds
        self._lost = lost
        self._waits = waits
        self._number = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Wait until the lease is held.

        Raises:
            RepositoryError: the directory cannot be written to.
        """
        try:
            self._acquire()
        except OSError as error:
            raise RepositoryError(
                f"{self._path.parent}: expected a directory for a lease, got {error.strerror}; "
                "see to its owner and mode"
            ) from error
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lease back, unless it was lost."""
        self._ended.set()
        self._thread.join()
        if self.is_held():
            self._file(self._number).write_bytes(FREE)

    def is_held(self) -> bool:
        """Say whether this lease is still its holder's."""
        found = self._look()
        return found is not None and found.number == self._number and not found.free

    def _acquire(self) -> None:
        pause = min(1.0, self._seconds / RENEWALS)
        seen, unchanged, told = self._look(), 0, False
        while True:
            found = self._look()
            unchanged = unchanged + 1 if found == seen else 0
            seen = found
            # Looks are counted, and not the time between them: a machine that stood still has let
            # none of its holders renew meanwhile.
            dead = unchanged * pause > self._seconds
            if found is None or found.free or dead:
                if self._take(1 if found is None else found.number + 1):
                    return
            elif not told:
                told = True
                self._waits(f"{self._file(found.number)} is held; waiting for its end")
            time.sleep(pause)

    def _take(self, number: int) -> bool:
        try:
            os.close(os.open(self._file(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            return False
        # Who was slow makes a number that others have passed long ago.
        numbers = self._numbers()
        if max(numbers) != number:
            self._file(number).unlink(missing_ok=True)  # who has passed it removes it, too
            return False
        self._number = number
        for older in numbers:
            if older < number:
                self._file(older).unlink(missing_ok=True)
        return True

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / RENEWALS):
            try:
                held = self.is_held()
                if held:
                    os.utime(self._file(self._number))
            except OSError:
                continue  # a file system that is away for a while
            if not held:
                self._lost()
                return

    def _look(self) -> _State | None:
        while numbers := self._numbers():
            try:
                # Opening has a file system ask for what is true now.
                with self._file(max(numbers)).open("rb") as file:
                    free = file.read(len(FREE)) == FREE
                    return _State(max(numbers), free, os.fstat(file.fileno()).st_mtime_ns)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    raise
                time.sleep(0.05)  # a newer one has been made since
        return None

    def _numbers(self) -> list[int]:
        suffixes = (path.suffix[1:] for path in self._path.parent.glob(f"{self._path.name}.*"))
        return [int(suffix) for suffix in suffixes if suffix.isdecimal()]

    def _file(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
