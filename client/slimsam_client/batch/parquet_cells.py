"""Encoded pictures in the cells of Parquet files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from slimsam_client.batch.locations import UnreadableError, import_parquet, open_file
from slimsam_client.batch.retrying import PATIENCE, StorageError
from slimsam_client.errors import ImageError
from slimsam_client.quoting import quoted


@contextmanager
def whole_parquet(place: str) -> Iterator[None]:
    """Say in an ImageError what pyarrow finds wrong with the content of a file."""
    try:
        yield
    except ImageError:
        raise
    # pyarrow's errors are of these kinds. Those of a store are none of them.
    except (LookupError, NotImplementedError, OSError, TypeError, ValueError) as error:
        raise ImageError(
            f"{place}: expected a Parquet file that is whole, got {quoted(str(error))}; "
            "check the file"
        ) from error


def open_parquet(file: IO[bytes], place: str) -> Any:
    """Read a Parquet file's footer.

    Raises:
        ImageError: it is no Parquet file.
    """
    parquet = import_parquet()
    with whole_parquet(place):
        return parquet.ParquetFile(file)


class _LastGroup:
    """The pictures of the row group that was read last: those of a shard lie in few groups."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[str, int, str] | None = None
        self._cells: Sequence[Any] = ()
        self._failure: ImageError | StorageError | None = None
        self._failed = 0.0

    def cell(self, place: str, group: int, row: int, column: str) -> Any:
        with self._lock:
            # A store that was away may be back by the time in which it would be waited for again.
            expired = (
                isinstance(self._failure, StorageError)
                and time.monotonic() - self._failed > PATIENCE
            )
            if self._of != (place, group, column) or expired:
                self._of = None
                self._read(place, group, column)
                self._of = place, group, column
            if self._failure is not None:
                raise type(self._failure)(str(self._failure)) from self._failure.__cause__
            with whole_parquet(place):
                return self._cells[row].as_py()

    def _read(self, place: str, group: int, column: str) -> None:
        self._cells, self._failure = (), None
        try:
            with open_file(place) as file:
                opened = open_parquet(file, place)
                with whole_parquet(place):
                    self._cells = opened.read_row_group(group, [column]).column(column)
        except UnreadableError:
            raise
        except (ImageError, StorageError) as error:
            self._failed = time.monotonic()
            self._failure = error  # a group is not read again in vain for each of its pictures


_last = _LastGroup()


def read_cell(place: str, group: int, row: int, column: str) -> bytes:
    """Read one encoded picture.

    Raises:
        ImageError: the cell is empty, its row group is damaged, or the file cannot be read.
        StorageError: its store fails.
    """
    cell = _last.cell(place, group, row, column)
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise ImageError("expected an encoded picture in the row, found none")
    return content
