"""The pixels of a PIL image of any mode, upright, as RGB of 8 bits."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimsam_client.errors import ImageError
from slimsam_client.image.exif import orientation
from slimsam_client.image.file import damaged, load
from slimsam_client.quoting import quoted

FEWEST_LEVELS: Final = 32
"""A picture of more than 8 bits must keep so many levels of gray, if it has as many."""

TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Each orientation of the EXIF standard is undone by this transposition."""

STRAIGHT_ALPHA: Final = {"La": "LA", "RGBa": "RGBA"}
"""Pillow converts these modes of premultiplied alpha to RGB by way of those of straight alpha."""


def has_deep_gray(image: Image.Image) -> bool:
    """Whether the mode is one of gray of 16 or 32 bits, or of floats: I;16, I or F."""
    return image.mode.startswith(("I", "F"))


def to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Decode an image, turn it upright and bring it to (H, W, 3) uint8.

    Raises:
        ImageError: it cannot be decoded, Pillow does not convert its mode, or it would lose its
            contrast.
    """
    try:
        is_upper_byte = _has_deep_color(image)
        load(image)
        turned = orientation(image)
        if turned in TRANSPOSITIONS:
            image = image.transpose(TRANSPOSITIONS[turned])
        if has_deep_gray(image):
            gray = _scaled(np.asarray(image), name)
            return np.repeat(gray[:, :, None], 3, axis=2)
    except ImageError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError and others
        raise damaged(name, error) from error
    try:
        if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
            image = image.convert("RGBA")  # Pillow warns of a direct conversion to RGB
        image = image.convert(STRAIGHT_ALPHA.get(image.mode, image.mode))
        pixels = np.array(image.convert("RGB"))
    except MemoryError as error:
        raise damaged(name, error) from error
    except Exception as error:
        raise ImageError(
            f"{name}: expected an image that Pillow converts to RGB, got mode {image.mode} "
            f"({quoted(str(error))}); convert it first"
        ) from error
    if is_upper_byte and pixels.max() < 64:
        raise ImageError(
            f"{name}: expected a color image of 16 bits that uses them, got one without a value "
            "above a quarter of 65,535, of which Pillow's upper byte keeps too little; scale it "
            "to 0..255 and give a uint8 array"
        )
    return pixels


def _has_deep_color(image: Image.Image) -> bool:
    """Whether decoding will keep the upper byte of 16 bits: Pillow has no color of more than 8.

    This can be seen only before decoding, from the layout that the file names to its decoder.
    """
    if has_deep_gray(image):
        return False
    for codec, _, _, arguments in getattr(image, "tile", ()):
        layout, *more = arguments if isinstance(arguments, tuple | list) else (arguments,)
        if ";16" in str(layout) or (codec.startswith("ppm") and more and more[-1] > 255):
            return True
    return False


def _scaled(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Scale gray, (H, W) of integers or floats, so that its full scale becomes 255."""
    low, high = values.min().item(), values.max().item()
    if not (0 <= low and math.isfinite(high)):  # of an array with NaN, both low and high are NaN
        raise ImageError(
            f"{name}: expected gray values from 0 on, got {low:g} to {high:g}; "
            "choose the range that matters, scale it to 0..255 and give a uint8 array"
        )
    scale = 255 / full_scale(high)
    has_steps = values.dtype.kind in "iu" or high == low  # floats may have any number of levels
    steps = high - low if has_steps else math.inf
    if (high - low) * scale < FEWEST_LEVELS <= steps:
        raise ImageError(
            f"{name}: expected gray values that differ, got {low:g} to {high:g}, which would leave "
            f"fewer than {FEWEST_LEVELS} levels of 255; choose the range that matters, scale it to "
            "0..255 and give a uint8 array"
        )
    return (np.multiply(values, scale, dtype=np.float64) + 0.5).astype(np.uint8)


def full_scale(high: float) -> float:
    """Give the value that becomes 255, for gray up to `high`.

    It is the least number 2**k - 1 that is not exceeded: 255, 4095 or 65535, for example, as a
    camera or a file format has them. For what does not exceed 1 it is the least 1 / 2**k. So the
    largest value always becomes 127 to 255.
    """
    if high > 1:
        return float(2 ** math.ceil(high).bit_length() - 1)
    mantissa, exponent = math.frexp(high)
    return math.ldexp(1.0, exponent - (mantissa == 0.5)) if high else 1.0
