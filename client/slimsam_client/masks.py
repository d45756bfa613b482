"""Masks: from low-resolution logits to the original image's pixels.

SAM resizes 256 to 1024, cuts the padding off, and resizes to the image, bilinear both times
(segment-anything, `Sam.postprocess_masks`). Both steps are linear and work on rows and columns
separately, so together they are two matrices: `rows @ logits @ columns.T`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import IMAGE_SIZE, LOW_RES_SIZE, MASK_THRESHOLD


def upscale_masks(
    low_res_logits: NDArray[np.float32], input_size: tuple[int, int], original_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Turn logits into masks of the original image.

    Args:
        low_res_logits: (..., 256, 256) float32.
        input_size: (height, width) of the image in the 1024 frame.
        original_size: (height, width) of the image.

    Returns:
        (..., height, width) bool. One mask at a time is in memory as float32.
    """
    masks = np.empty((*low_res_logits.shape[:-2], *original_size), np.bool_)
    for index in np.ndindex(low_res_logits.shape[:-2]):
        logits = upscale_logits(low_res_logits[index], input_size, original_size)
        np.greater(logits, MASK_THRESHOLD, out=masks[index])
    return masks


def upscale_logits(
    low_res_logits: NDArray[np.float32], input_size: tuple[int, int], original_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Scale logits to the original image, without a threshold.

    Args:
        low_res_logits: (..., 256, 256) float32.
        input_size: (height, width) of the image in the 1024 frame.
        original_size: (height, width) of the image.

    Returns:
        (..., height, width) float32.
    """
    rows = resize_matrix(input_size[0], original_size[0])
    columns = resize_matrix(input_size[1], original_size[1]).T
    return rows @ low_res_logits @ columns


@lru_cache(maxsize=32)
def resize_matrix(valid: int, size: int) -> NDArray[np.float32]:
    """Make the matrix from 256 low-resolution cells to `size` pixels along one axis.

    Args:
        valid: how many of the frame's 1024 pixels belong to the image.
        size: the image's pixels.

    Returns:
        (size, 256) float32, read-only.
    """
    up = _resized(np.eye(LOW_RES_SIZE), IMAGE_SIZE)[:valid]
    matrix = _resized(up, size).astype(np.float32)
    matrix.flags.writeable = False
    return matrix


def _resized(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Interpolate between rows as torch does, without aligned corners or antialiasing."""
    last = len(rows) - 1
    centres = np.maximum((np.arange(count) + 0.5) * (len(rows) / count) - 0.5, 0)
    low = np.minimum(centres.astype(np.int64), last)
    high = np.minimum(low + 1, last)
    share = (centres - low)[:, None]
    resized: NDArray[np.float64] = rows[low] * (1 - share) + rows[high] * share
    return resized
