"""The segments of a JPEG file, of which a few bytes can make more work than any picture is."""

from __future__ import annotations

import re
from typing import Final

from slimsam_client.errors import ImageError
from slimsam_client.image.exif import MAX_EXIF_BYTES

START: Final = b"\xff\xd8\xff"
"""A JPEG begins with these bytes."""
MAX_SCANS: Final = 100
"""A picture has at most so many scans. Each of a progressive JPEG is a pass over all of its
coefficients, and may take ten bytes of the file. Encoders make about ten; libtiff ends at as
many as this."""
MAX_SEGMENTS: Final = 10_000
"""There are at most so many segments before and between the scans. Pillow keeps each of them as
objects of a hundred bytes, and one may have four; profiles and depth maps take some hundreds."""

_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
"""This is a segment's marker: neither data with a stuffed zero, nor a marker without a segment
(TEM, RST0 to RST7, SOI), nor a byte of filling before one (ITU-T T.81, B.1.1)."""
_HUFFMAN_SEQUENTIAL: Final = (0xC0, 0xC1)
_NO_FRAMES: Final = (0xC4, 0xC8, 0xCC)
_END_OF_IMAGE: Final = 0xD9
_START_OF_SCAN: Final = 0xDA
_APP1: Final = 0xE1


def check_jpeg(content: bytes, name: str) -> None:
    """Refuse a file whose decoding has no bound by its pixels, before anything decodes it.

    Args:
        content: the file.
        name: its name, for the message.

    Raises:
        ImageError: it has more scans, segments or EXIF than the limits.
    """
    scans = segments = exif = at = 0
    components = b""  # of a frame that may be all of one scan, how many there are
    while found := _MARKER.search(content, at):
        marker, at = content[found.start(1)], found.end()
        if marker == _END_OF_IMAGE:  # a video may follow
            return
        segments += 1
        if marker in _HUFFMAN_SEQUENTIAL:
            components = content[at + 7 : at + 8]
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            components = b""
        elif marker == _START_OF_SCAN:
            scans += 1
            if components and content[at + 2 : at + 3] == components:  # decoders expect no other
                return
        elif marker == _APP1 and content.startswith(b"Exif", at + 2):
            exif += int.from_bytes(content[at : at + 2], "big")
        if scans > MAX_SCANS or segments > MAX_SEGMENTS or exif > MAX_EXIF_BYTES:
            raise ImageError(
                f"{name}: expected a JPEG of at most {MAX_SCANS} scans, {MAX_SEGMENTS:,} segments "
                f"and {MAX_EXIF_BYTES:,} bytes of EXIF, got more; save it again"
            )
        at += int.from_bytes(content[at : at + 2], "big")  # its own two bytes included
