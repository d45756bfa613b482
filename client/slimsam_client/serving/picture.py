"""The encoded picture of a request."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import Arrays
from slimsam_client.errors import ImageError
from slimsam_client.image.load import load_encoded


class PictureLimits(Protocol):
    """What a picture may be; see `Limits`."""

    @property
    def max_pixels(self) -> int:
        """Pixels of the picture."""

    @property
    def max_image_bytes(self) -> int:
        """Bytes of the encoded picture."""

    @property
    def formats(self) -> tuple[str, ...]:
        """Pillow's names of the formats that are read."""


def picture_bytes(inputs: Arrays, limits: PictureLimits, elsewhere: str) -> bytes:
    """Give the encoded picture.

    Args:
        inputs: the request's tensors.
        limits: what it may be.
        elsewhere: what the message says of one that is above them, behind "make it smaller, or".

    Raises:
        ImageError: there is none, or it is larger.
    """
    if "image_bytes" not in inputs:
        raise ImageError("image_bytes: expected an encoded picture, got none")
    content: bytes = inputs["image_bytes"][0]
    if len(content) > limits.max_image_bytes:
        raise ImageError(
            f"image_bytes: expected at most {limits.max_image_bytes:,} bytes (the server's "
            f"max_image_bytes), got {len(content):,}; make it smaller, or {elsewhere}"
        )
    return content


def read_picture(inputs: Arrays, limits: PictureLimits, elsewhere: str) -> NDArray[np.uint8]:
    """Decode the picture; parameters: see `picture_bytes`.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ImageError: as `picture_bytes`; or it cannot be read or used.
    """
    content = picture_bytes(inputs, limits, elsewhere)
    advice = f"that is the server's max_pixels; make it smaller, or {elsewhere}"
    return load_encoded(content, limits.max_pixels, limits.formats, advice)
