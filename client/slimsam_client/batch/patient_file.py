"""A file of a remote store that is read on where its store has failed for a while."""

from __future__ import annotations

import io
from typing import Any

from slimsam_client.batch.retrying import patiently


class PatientFile(io.RawIOBase):
    """Reads what a file of fsspec reads, each piece as `patiently` does.

    So whoever parses it sees errors of its content alone, or a StorageError.

    Args:
        file: the file; it is closed with this one.
        place: its URL, for messages.
    """

    def __init__(self, file: Any, place: str) -> None:
        self._file = file
        self._place = place

    def readable(self) -> bool:
        """As for any file that is read."""
        return True

    def seekable(self) -> bool:
        """Whether the store gives pieces of files."""
        return bool(self._file.seekable())

    def read(self, size: int = -1, /) -> bytes:
        """As `io.RawIOBase.read`, which would copy what may be a gigabyte twice."""
        start = self._file.tell()

        def read() -> bytes:
            if self._file.tell() != start:
                self._file.seek(start)
            content: bytes = self._file.read(size)
            return content

        return patiently(read, self._place)

    def readinto(self, buffer: Any) -> int:
        """As `io.RawIOBase.readinto`."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As `io.RawIOBase.seek`."""
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        """As `io.RawIOBase.tell`."""
        return int(self._file.tell())

    def close(self) -> None:
        """Close both."""
        if not self.closed:
            self._file.close()
        super().close()
