"""What every encoding takes: one mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimsam_client.errors import MaskError


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
        MaskError: it is not two integers from 0 on.
    """
    try:
        height, width = size
        if int(height) == height >= 0 and int(width) == width >= 0:
            return int(height), int(width)
    except (OverflowError, TypeError, ValueError):
        pass
    raise MaskError(f"size: expected (height, width) in pixels, got {size!r}")
