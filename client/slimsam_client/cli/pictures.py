"""Picture files, in the formats that their names say."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image

from slimsam_client.cli.files import write_whole
from slimsam_client.cli.status import UsageError

MASK_FORMATS: Final = {".bmp": "BMP", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
"""These formats keep a gray picture as it is: Pillow's names of them, by suffix."""
PICTURE_FORMATS: Final = {**MASK_FORMATS, ".jpeg": "JPEG", ".jpg": "JPEG", ".webp": "WEBP"}
"""These are the formats of pictures to look at."""
SAVE_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    # This takes a fifth of the time of Pillow's default, for a sixth more bytes: photos are noise.
    "PNG": {"compress_level": 1},
    "JPEG": {"quality": 90},
    "WEBP": {"quality": 90},
}


def check_format(path: Path | None, formats: Mapping[str, str] = PICTURE_FORMATS) -> None:
    """Refuse a name that says no format that can be written, before anything is computed.

    A name without a suffix, such as /dev/stdout, is of a PNG.

    Raises:
        UsageError: the format is none of `formats`, or this Pillow lacks it.
    """
    if path is None or not path.suffix:
        return
    Image.init()
    known = [suffix for suffix, name in formats.items() if name in Image.SAVE]
    if path.suffix.lower() not in known:
        raise UsageError(
            f"cannot write {path}: expected a name that ends in {', '.join(sorted(known))} "
            f"or has no suffix (PNG), got {path.suffix}"
        )


def write_picture(path: Path, picture: Image.Image, follow_links: bool = True) -> None:
    """Write a picture as `write_whole` does, in the format that its name says.

    Raises:
        UsageError: it cannot be written, or is too large for the format.
    """
    name = PICTURE_FORMATS.get(path.suffix.lower(), "PNG")
    encoded = io.BytesIO()
    try:
        picture.save(encoded, name, **SAVE_OPTIONS.get(name, {}))
    except (OSError, ValueError) as error:  # WebP's sides end at 16,383 pixels, JPEG's at 65,535
        width, height = picture.size
        raise UsageError(
            f"cannot write {path}: expected a picture that {name} can hold, got {width} x {height} "
            f"({error}); a PNG can"
        ) from error
    write_whole(path, encoded.getvalue(), follow_links)
