"""The cache's file: opened, or made anew where it is not what it should be, and its lock."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import threading
from pathlib import Path
from types import TracebackType

from slimsam_client.quoting import quoted
from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.layout import CacheSizes


class FileLock:
    """A lock between threads and processes, which the kernel takes from a process that dies.

    Args:
        descriptor: of the file; each process has to have opened it itself.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._owner = os.getpid()
        self._threads = threading.Lock()  # flock does not tell apart what shares a descriptor

    def __enter__(self) -> None:
        if os.getpid() != self._owner:  # nor does it tell apart a process and its fork
            raise CacheError(
                "cache: expected the process that opened it, got a forked one; open it there"
            )
        self._threads.acquire()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()


def open_file(path: Path, sizes: CacheSizes) -> tuple[int, mmap.mmap]:
    """Open the file, or make it if there is none, or one that is not of these sizes.

    Whoever has mapped a file that is replaced keeps its own: a file is never made shorter, which
    would kill its readers, but unlinked.

    Returns:
        The descriptor, and the whole file mapped.

    Raises:
        CacheError: the directory is missing or cannot be written, its filesystem has not enough
            room, or the file is somebody else's.
    """
    try:
        while True:
            descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_current(descriptor, path) and _is_ready(descriptor, path, sizes):
                    memory = mmap.mmap(descriptor, sizes.nbytes)
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                    return descriptor, memory
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
    except OSError as error:
        raise CacheError(
            f"cache: expected a file of {sizes.nbytes:,} bytes at {quoted(str(path))}, got "
            f"{error.strerror}"
        ) from error


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether nobody has replaced the file while this process waited for its lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _is_ready(descriptor: int, path: Path, sizes: CacheSizes) -> bool:
    """Fill a new file, and unlink one that is not of these sizes."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise CacheError(
            f"cache: expected a file of this user at {quoted(str(path))}, got one of user "
            f"{found.st_uid}, mode {stat.filemode(found.st_mode)}; take another path"
        )
    is_new = found.st_size == 0
    header = sizes.header
    if not is_new and (
        found.st_mode & 0o077  # others may have written to it
        or found.st_size != sizes.nbytes
        or os.pread(descriptor, len(header), 0) != header
    ):
        os.unlink(path)
        return False
    try:
        _allocate(descriptor, path, sizes.nbytes, found.st_blocks * 512)
    except BaseException:
        if is_new:
            os.unlink(path)
        raise
    if is_new:
        os.pwrite(descriptor, header, 0)  # the last thing, so that a file with a header is whole
    return True


def _allocate(descriptor: int, path: Path, nbytes: int, allocated: int) -> None:
    """Have the filesystem keep room: it would kill a process that writes to a page without one."""
    room = os.fstatvfs(descriptor)
    free = room.f_bavail * room.f_frsize + allocated
    try:
        if free < nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(descriptor, 0, nbytes)
    except OSError as error:
        raise CacheError(
            f"cache: expected {nbytes:,} bytes on the filesystem of {quoted(str(path))}, got "
            f"{free:,} ({error.strerror}); make it larger (docker run's --shm-size, an emptyDir of "
            "medium Memory in Kubernetes), or the cache smaller"
        ) from error
