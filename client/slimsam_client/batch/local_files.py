"""Local files: regular ones that are read, and new ones that lie beside a name until whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

PART_SUFFIX: Final = ".slimsam-part"
"""Files that are being written have this suffix. Only a killed process leaves one behind."""
MAX_BYTES: Final = 2**31 - 1
"""A file that is read has at most so many bytes, since no message of gRPC holds more."""
KINDS: Final = {
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file to be read; devices and pipes, which may never end, are refused.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind in KINDS:  # opening one could wait for ever
        raise OSError(errno.EINVAL, f"{KINDS[kind]}, which is no regular file", str(path))
    return path.open("rb")


def check_size(size: int, path: Path) -> None:
    """Refuse a file of so many bytes.

    Raises:
        OSError: they are more than MAX_BYTES.
    """
    if size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"one of more than {MAX_BYTES:,} bytes", str(path))


@contextmanager
def part_file(path: Path, mode: int = 0o666) -> Iterator[tuple[Path, IO[bytes]]]:
    """Open a new file of another name beside a path; that name is gone at the end.

    Args:
        path: the name that the file is to get.
        mode: mode of the new file, which the umask restricts.

    Raises:
        OSError: it cannot be made.
    """
    part = path.parent / f".{secrets.token_hex(8)}{PART_SUFFIX}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            yield part, file
    finally:
        part.unlink(missing_ok=True)


def put_on_disk(file: IO[bytes]) -> None:
    """Close a file when its content is on the disk, not only on its way to it."""
    file.flush()
    os.fsync(file.fileno())  # without it, a power cut could leave an empty file
    file.close()


def remove_parts(folder: Path) -> None:
    """Remove what a process that was killed left in a folder and those below it."""
    for part in folder.rglob(f".*{PART_SUFFIX}"):
        part.unlink(missing_ok=True)
