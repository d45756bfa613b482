"""The directory of a TIFF file, of which a tag may have more numbers than any picture needs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Final

from slimsam_client.errors import ImageError

STARTS: Final = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")
"""A TIFF that Pillow reads begins with one of these; "+" is BigTIFF's."""
MAX_NUMBERS: Final = 2**20
"""A tag has at most so many numbers, of each of which Pillow makes objects of a hundred bytes and
more. A picture of 178,956,970 pixels in the smallest tiles, 16 x 16, has 699,051."""
MAX_TAGS: Final = 2**16 - 1
"""There are at most so many tags: no more are counted in a TIFF, and in a BigTIFF they could be."""

_OF_BYTES: Final = (1, 2, 7)
"""Tags of these types (BYTE, ASCII, UNDEFINED) stay the bytes that they are."""


def check_tiff(file: IO[bytes], name: str) -> None:
    """Refuse a file whose tags take memory that has no bound by its pixels, before they are read.

    Args:
        file: a binary file that can be sought in.
        name: its name, for the message.

    Raises:
        ImageError: a tag has more numbers than MAX_NUMBERS, or there are more than MAX_TAGS.
    """
    for place, (kind, numbers) in enumerate(_tags(file)):
        if place == MAX_TAGS:
            raise ImageError(
                f"{name}: expected a TIFF of at most {MAX_TAGS:,} tags, got more; save it again"
            )
        if numbers > MAX_NUMBERS and kind not in _OF_BYTES:
            raise ImageError(
                f"{name}: expected a TIFF of at most {MAX_NUMBERS:,} numbers in a tag, got "
                f"{numbers:,}; save it in larger tiles or strips"
            )


def _tags(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Give type and count of each tag of the first directory, as far as it can be read."""
    try:
        file.seek(0)
        head = file.read(16)
        order = "<" if head.startswith(b"II") else ">"
        is_big = head[2:3] == b"+"
        count_form, form = ("Q", "HHQ8s") if is_big else ("H", "HHL4s")
        (start,) = struct.unpack_from(order + ("Q" if is_big else "L"), head, 8 if is_big else 4)
        file.seek(start)
        (count,) = struct.unpack(order + count_form, file.read(8 if is_big else 2))
        entry = struct.Struct(order + form)
        content = file.read(min(count, MAX_TAGS + 1) * entry.size)
    except (OSError, OverflowError, ValueError, struct.error):  # Pillow will say so
        return
    for _, kind, numbers, _ in entry.iter_unpack(
        content[: len(content) // entry.size * entry.size]
    ):
        yield kind, numbers
