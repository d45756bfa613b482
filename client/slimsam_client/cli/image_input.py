"""Image files that the command reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slimsam_client.cli.files import read_file
from slimsam_client.errors import ImageError
from slimsam_client.image.load import load_image


def read_image_file(path: Path, pipes: bool = False) -> bytes:
    """Read an image file as it is, as `read_file` does.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return read_file(path, pipes)
    except OSError as error:
        raise ImageError(
            f"{path}: expected a readable image file, got {error.strerror or error}; check the path"
        ) from error


def decoded(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode an image file's content.

    Args:
        content: content of the file.
        name: name of the file, for messages.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ImageError: it is no image, or a damaged one.
    """
    file = io.BytesIO(content)
    file.name = name  # load_image's messages name it
    return load_image(file)
