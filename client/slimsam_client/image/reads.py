"""A file that somebody else sent, which is read in no more parts than pictures have."""

from __future__ import annotations

import io
from typing import Final

from slimsam_client.errors import ImageError

MAX_READS: Final = 2**21
"""A file may be read in so many parts, which are about two seconds of Pillow's Python, and 200 MB.
A PNG of 200 MB in chunks of a kilobyte takes half as many."""


class LimitedReads(io.BytesIO):
    """A file in which a number of reads is an `ImageError`.

    Pillow reads segments, chunks, extensions, tags, and the runs of a BMP in Python, one by one,
    and keeps most of them. Of four bytes each, those of a file that is within all limits of bytes
    and pixels would take minutes, in which nothing can end them, and gigabytes.

    Args:
        content: the file.
        name: its name, for the message.
    """

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file.

        Raises:
            ImageError: there were too many reads.
        """
        self._reads += 1
        if self._reads > MAX_READS:
            raise ImageError(
                f"{self._name}: expected a file of at most {MAX_READS:,} segments, chunks or runs, "
                "got more; save it again"
            )
        return super().read(size)
