"""The orientation that EXIF says."""

from __future__ import annotations

from typing import Final

from PIL import ExifTags, Image

MAX_EXIF_BYTES: Final = 2**20
"""EXIF is read up to so many bytes, 16 segments of a JPEG: Pillow makes an object of each number of
a tag, which may be as long as the whole."""


def orientation(image: Image.Image) -> int:
    """Read EXIF's orientation, 1 to 8; like viewers, take 1, which is upright, where it cannot be.

    Args:
        image: a decoded image, since EXIF may lie behind its pixels.
    """
    try:
        in_text = image.info.get("Raw profile type exif", "")  # in hexadecimal
        if max(len(image.info.get("exif", b"")), len(in_text) // 2) > MAX_EXIF_BYTES:
            return 1
        found = image.getexif().get(ExifTags.Base.Orientation)
        return found if isinstance(found, int) else 1
    except Exception:
        return 1
