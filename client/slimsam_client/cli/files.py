"""Files that are read to their end, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from slimsam_client.batch.local_files import check_size, open_regular, part_file, put_on_disk
from slimsam_client.cli.status import UsageError

CHUNK: Final = 2**20


def read_file(path: Path, pipes: bool = False) -> bytes:
    """Read a regular file; devices, which may never end, are refused.

    Args:
        path: path of the file.
        pipes: whether it may be a pipe, such as /dev/stdin or a shell's <(...). It is read to its
            end; one that nobody writes to is refused at once.

    Raises:
        OSError: it cannot be read, is no regular file, or is too large.
    """
    if pipes and stat.S_ISFIFO(path.stat().st_mode):
        return _read_pipe(path)
    with open_regular(path) as file:
        check_size(os.fstat(file.fileno()).st_size, path)
        return file.read()


def _read_pipe(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:
        # Without O_NONBLOCK `open` would wait for a writer. With it, an empty read means that there
        # is no writer, and None that one has yet to write.
        chunk = file.read(CHUNK)
        if chunk == b"":
            raise OSError(errno.EPIPE, "an empty pipe that nobody writes to", str(path))
        os.set_blocking(descriptor, True)
        content = bytearray(chunk or b"")
        while chunk := file.read(CHUNK):
            content += chunk
            check_size(len(content), path)
    return bytes(content)


def write_whole(path: Path, content: bytes, follow_links: bool = True) -> None:
    """Write a file in one step, in place of one that is there, whose mode and owner it gets.

    A new file's mode follows the umask. An owner is kept as far as the system allows.

    Args:
        path: path of the file.
        content: content of the file.
        follow_links: whether a link is kept and its target written. Something else than a file,
            such as /dev/stdout or a pipe, is written to then, too. If False, a regular file takes
            the place of whatever has this name, and nothing is written elsewhere.

    Raises:
        UsageError: it cannot be written, or is a file that may not be.
    """
    try:
        earlier = _status(path, follow_links)
        if earlier is not None and not stat.S_ISREG(earlier.st_mode):
            if follow_links:
                path.write_bytes(content)
                return
            earlier = None  # the mode of a link says nothing
        _replace(Path(os.path.realpath(path)) if follow_links else path, content, earlier)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _status(path: Path, follow_links: bool) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow_links)
    except FileNotFoundError:
        return None


def _replace(path: Path, content: bytes, earlier: os.stat_result | None) -> None:
    if earlier is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    # A private file's new content is private from its first byte.
    with part_file(path, 0o666 if earlier is None else 0o600) as (part, file):
        file.write(content)
        put_on_disk(file)
        if earlier is not None:
            _give_mode_and_owner(part, earlier)
        os.replace(part, path)


def _give_mode_and_owner(path: Path, earlier: os.stat_result) -> None:
    for owner in (earlier.st_uid, -1):  # -1 leaves the owner and gives the group at least
        with suppress(OSError):
            os.chown(path, owner, earlier.st_gid)
            break
    os.chmod(path, stat.S_IMODE(earlier.st_mode))
