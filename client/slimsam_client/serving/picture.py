"""The encoded picture of a request."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import Arrays
from slimsam_client.errors import ImageError
from slimsam_client.image.load import MAX_SIDE, load_encoded, resized_size


class PictureLimits(Protocol):
    """What a picture may be; see `Limits`."""

    @property
    def max_pixels(self) -> int:
        """Pixels of the picture."""

    @property
    def max_original_pixels(self) -> int:
        """Pixels that a reduced picture had."""

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


def stated_size(inputs: Arrays, limits: PictureLimits) -> tuple[int, int] | None:
    """Give (height, width) that a picture had before it was reduced; None if it was not.

    Raises:
        ImageError: it is no size, or above a limit.
    """
    if "original_size" not in inputs:
        return None
    height, width = inputs["original_size"].tolist()
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ImageError(
            f"original_size: expected (height, width) from 1 to {MAX_SIDE:,}, got {height}, {width}"
        )
    if height * width > limits.max_original_pixels:
        raise ImageError(
            f"original_size: expected at most {limits.max_original_pixels:,} pixels (the server's "
            f"max_original_pixels), got {height} x {width}; send a smaller one, and scale the masks"
        )
    return height, width


def size_of_masks(pixels: NDArray[np.uint8], stated: tuple[int, int] | None) -> tuple[int, int]:
    """Give (height, width) that a picture's masks have: its own, or that before it was reduced.

    Args:
        pixels: (H, W, 3), the picture.
        stated: as `stated_size` gives it.

    Raises:
        ImageError: it is not what a picture of that size is when it is reduced to the 1024 frame.
    """
    height, width = pixels.shape[:2]
    if stated is None:
        return height, width
    if resized_size(*stated) != (height, width):
        expected = resized_size(*stated)
        raise ImageError(
            f"original_size: expected that of a picture of {height} x {width} (height x width), "
            f"got {stated[0]} x {stated[1]}, which is reduced to {expected[0]} x {expected[1]}"
        )
    return stated
