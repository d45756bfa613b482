"""Checks of what every encoding takes: one mask."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.errors import MaskError
from slimsam_client.quoting import quoted_value

MAX_SIZE: Final = 2**31 - 1
"""A mask's side is at most this long, as a size of 32 bits has it."""


def checked_mask(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Give the mask itself, of any strides, if it is one.

    Raises:
        MaskError: it is no bool array (H, W).
    """
    if not isinstance(mask, np.ndarray):
        raise MaskError(f"mask: expected a bool array (H, W), got {type(mask).__name__}")
    if mask.ndim != 2:
        raise MaskError(
            f"mask: expected a bool array (H, W), got shape {mask.shape}; encode one mask at a time"
        )
    if mask.dtype != np.bool_:
        raise MaskError(
            f"mask: expected a bool array (H, W), got {mask.dtype}; say what is inside, "
            "for example mask > 0"
        )
    return mask


def checked_size(size: Any) -> tuple[int, int]:
    """Give (height, width) as plain integers.

    Raises:
        MaskError: it is not two integers from 0 to MAX_SIZE.
    """
    try:
        height, width = size
        sides = int(height), int(width)
        if sides == (height, width) and 0 <= min(sides) and max(sides) <= MAX_SIZE:
            return sides
    except (OverflowError, TypeError, ValueError):
        pass
    raise MaskError(f"size: expected (height, width) in pixels, got {quoted_value(size)}")


def check_pixels(name: str, height: int, width: int, max_pixels: int) -> None:
    """Refuse to decode what would take too much memory: a few bytes may claim any size.

    Raises:
        MaskError: there are more than max_pixels.
    """
    if height * width > max_pixels:
        raise MaskError(
            f"{name}: expected at most {max_pixels:,} pixels, got {height} x {width}; "
            "a larger max_pixels takes it"
        )
