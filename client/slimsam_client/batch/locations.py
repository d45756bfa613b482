"""Paths and URLs of what a batch reads."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from slimsam_client.batch.local_files import check_size, open_regular
from slimsam_client.batch.patient_file import PatientFile
from slimsam_client.batch.retrying import patiently
from slimsam_client.errors import ImageError, MissingExtraError


class UnreadableError(ImageError):
    """Nothing can be read at a place."""


def is_url(place: str) -> bool:
    """Whether a place is a URL other than file://."""
    return "://" in place and not place.startswith("file://")


def local_path(place: str) -> str:
    """Give the path of a place that is no URL."""
    return place.removeprefix("file://")


def absolute(place: str) -> str:
    """Give a place that means the same in every working directory."""
    return place if is_url(place) else os.path.join(os.getcwd(), local_path(place))


def same_place(one: str, other: str) -> bool:
    """Whether two places are one and the same folder."""
    if is_url(one) or is_url(other):
        return one.rstrip("/") == other.rstrip("/")
    return Path(local_path(one)).resolve() == Path(local_path(other)).resolve()


def import_fsspec() -> Any:
    """Import fsspec.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(
            "expected fsspec for a URL, got none; pip install slimsam-client[batch]"
        ) from error
    return fsspec


def import_parquet() -> Any:
    """Import pyarrow.parquet.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "expected pyarrow for Parquet, got none; pip install slimsam-client[batch]"
        ) from error
    return pyarrow.parquet


def file_system(url: str) -> tuple[Any, str]:
    """Give fsspec's file system of a URL, without a cache of listings, and the path in it.

    Raises:
        MissingExtraError: what reads such a URL is not installed.
    """
    fsspec = import_fsspec()
    protocol = url.partition("://")[0]
    options = {"use_listings_cache": False} if protocol in ("s3", "s3a") else {}
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        raise MissingExtraError(
            f"{url}: expected a URL that fsspec can read, got {protocol}:// ({error}); "
            "install what it names"
        ) from error
    return found


def read(place: str, offset: int = 0, size: int | None = None) -> bytes:
    """Read a file, or `size` bytes of it.

    Raises:
        UnreadableError: it cannot be read, is no regular file, or is too large.
        StorageError: its store fails.
    """
    try:
        if is_url(place):
            system, path = file_system(place)
            end = None if size is None else offset + size
            content: bytes = patiently(
                lambda: system.cat_file(path, start=offset or None, end=end), place
            )
            return content
        return _read_local(Path(local_path(place)), offset, size)
    except (OSError, ValueError) as error:  # ValueError is for what no path or URL can be
        raise _unreadable_file(place, error) from error


def _read_local(path: Path, offset: int, size: int | None) -> bytes:
    with open_regular(path) as file:
        if size is None:
            check_size(os.fstat(file.fileno()).st_size, path)
        file.seek(offset)
        return file.read() if size is None else file.read(size)


def open_file(place: str) -> IO[bytes]:
    """Open a file that can be sought in; each piece of a remote one is read as `read` reads.

    Raises:
        UnreadableError: it cannot be opened.
        StorageError: its store fails.
    """
    try:
        if is_url(place):
            system, path = file_system(place)
            file = patiently(lambda: system.open(path, "rb"), place)
            return cast(IO[bytes], PatientFile(file, place))
        return open_regular(Path(local_path(place)))
    except (OSError, ValueError) as error:
        raise _unreadable_file(place, error) from error


def _unreadable_file(place: str, error: OSError | ValueError) -> UnreadableError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if reason == place and isinstance(error, FileNotFoundError):  # it is all that fsspec says
        reason = os.strerror(errno.ENOENT)
    return UnreadableError(f"{place}: expected a readable file, got {reason}; check the path")


def files_below(folder: str, recursive: bool = True, leave_out: str | None = None) -> list[str]:
    """List the files of a folder by their paths below it, with slashes; sorted.

    Hidden files and folders are left out, and pipes, which might never end.

    Args:
        folder: a path or a URL.
        recursive: whether to look into folders below.
        leave_out: a folder below that is not looked into: that of the results.

    Raises:
        OSError: a folder cannot be read.
    """
    if not is_url(folder):
        return sorted(_local_files(Path(local_path(folder)), recursive, leave_out))
    system, root = file_system(folder.rstrip("/"))
    found = patiently(lambda: system.find(root), folder)
    names = [path.removeprefix(f"{root}/") for path in found if path.startswith(f"{root}/")]
    out = None
    if leave_out is not None and is_url(leave_out):
        out = system._strip_protocol(leave_out.rstrip("/")).removeprefix(f"{root}/") + "/"
    return sorted(
        name
        for name in names
        if not f"/{name}".count("/.")
        and not name.endswith("/")
        and not (out and name.startswith(out))
    )


def _local_files(folder: Path, recursive: bool, leave_out: str | None) -> list[str]:
    output = None if leave_out is None or is_url(leave_out) else Path(leave_out).resolve()
    found = []
    for directory, below, files in os.walk(folder, onerror=_unreadable):
        below[:] = [
            name
            for name in below
            if recursive and not name.startswith(".") and Path(directory, name).resolve() != output
        ]
        found += [
            Path(directory, name).relative_to(folder).as_posix()
            for name in files
            if not name.startswith(".") and not _is_pipe(Path(directory, name))
        ]
    return found


def _is_pipe(path: Path) -> bool:
    try:
        return path.is_fifo()
    except OSError:  # it concerns this file alone, which will fail by it
        return False


def _unreadable(error: OSError) -> NoReturn:
    raise error
