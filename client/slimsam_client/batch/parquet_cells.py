"""Encoded pictures in the cells of Parquet files."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import IO, Any

from slimsam_client.batch.locations import import_parquet, open_file
from slimsam_client.errors import ImageError


def open_parquet(file: IO[bytes], place: str) -> Any:
    """Read a Parquet file's footer.

    Raises:
        ImageError: it is no Parquet file.
    """
    parquet = import_parquet()
    try:
        return parquet.ParquetFile(file)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise ImageError(f"{place}: expected a Parquet file, got {error!s:.200}") from error


class _LastGroup:
    """The pictures of the row group that was read last: those of a shard lie in few groups."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[str, int, str] | None = None
        self._cells: Sequence[Any] = ()

    def cell(self, place: str, group: int, row: int, column: str) -> Any:
        with self._lock:
            if self._of != (place, group, column):
                with open_file(place) as file:
                    opened = open_parquet(file, place)
                    self._cells = opened.read_row_group(group, [column]).column(column)
                self._of = place, group, column
            return self._cells[row].as_py()


_last = _LastGroup()


def read_cell(place: str, group: int, row: int, column: str) -> bytes:
    """Read one encoded picture.

    Raises:
        ImageError: the cell is empty, or the file cannot be read.
    """
    cell = _last.cell(place, group, row, column)
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise ImageError("expected an encoded picture in the row, found none")
    return content
