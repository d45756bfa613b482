"""Scaling of masks from low-resolution logits to the original image's pixels.

SAM resizes 256 to 1024, cuts the padding off, and resizes to the image, bilinear both times
(segment-anything, `Sam.postprocess_masks`). Both steps are linear and work on rows and columns
separately, so together they are two matrices: `rows @ logits @ columns.T`. A pixel depends on two
or three cells of an axis, so the matrices are applied in bands, each to the cells that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import LOW_RES_SIZE, MASK_THRESHOLD
from slimsam_client.masks.axis import Band, axes

SERIAL_PRODUCT: Final = 2**18
"""OpenBLAS takes one thread for a product of up to so many multiplications (its interface/gemm.c).
More threads gain little here, and spin for a while afterwards, on cores that a server on the same
machine needs for the next click."""


def upscale_masks(
    low_res_logits: NDArray[np.float32], input_size: tuple[int, int], original_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Turn logits into masks of the original image.

    Args:
        low_res_logits: (..., 256, 256) float32.
        input_size: (height, width) of the image in the 1024 frame.
        original_size: (height, width) of the image.

    Returns:
        (..., height, width) bool. A band of one mask at a time is in memory as float32.
    """
    # NumPy asks for large pages in `empty` and not in `zeros`; zeros are filled in where needed.
    masks = np.empty((*low_res_logits.shape[:-2], *original_size), np.bool_)
    for index in np.ndindex(low_res_logits.shape[:-2]):
        logits = low_res_logits[index]
        window = reached_window(logits, MASK_THRESHOLD, input_size, original_size)
        inside = masks[index][window]
        if inside.shape != original_size:
            masks[index] = False
        for rows, values in upscaled_bands(logits, input_size, original_size, window):
            np.greater(values, MASK_THRESHOLD, out=inside[rows])
    return masks


def upscale_window(
    low_res_logits: NDArray[np.float32], input_size: tuple[int, int], original_size: tuple[int, int]
) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Turn logits into the part of the image that holds the mask.

    Args:
        low_res_logits: (256, 256) float32.
        input_size: (height, width) of the image in the 1024 frame.
        original_size: (height, width) of the image.

    Returns:
        (y, x) of the part in the image, and its mask, (height, width) bool.
    """
    rows, columns = reached_window(low_res_logits, MASK_THRESHOLD, input_size, original_size)
    mask = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    bands = upscaled_bands(low_res_logits, input_size, original_size, (rows, columns))
    for pixels, values in bands:
        np.greater(values, MASK_THRESHOLD, out=mask[pixels])
    return (rows.start, columns.start), mask


def upscale_logits(
    low_res_logits: NDArray[np.float32],
    input_size: tuple[int, int],
    original_size: tuple[int, int],
) -> NDArray[np.float32]:
    """Scale logits to the original image, without a threshold.

    Args:
        low_res_logits: (..., 256, 256) float32.
        input_size: (height, width) of the image in the 1024 frame.
        original_size: (height, width) of the image.

    Returns:
        (..., height, width) float32.
    """
    whole = slice(0, original_size[0]), slice(0, original_size[1])
    logits = np.empty((*low_res_logits.shape[:-2], *original_size), np.float32)
    for index in np.ndindex(low_res_logits.shape[:-2]):
        for rows, values in upscaled_bands(low_res_logits[index], input_size, original_size, whole):
            logits[index][rows] = values
    return logits


def reached_window(
    logits: NDArray[np.float32],
    threshold: float,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
) -> tuple[slice, slice]:
    """Find where an image's logits can exceed a threshold: a mask is mostly small.

    Interpolation never exceeds the values that it lies between.

    Args:
        logits: (256, 256) float32.
        threshold: the threshold to be exceeded.
        input_size: (height, width) of the image in the 1024 frame.
        original_size: (height, width) of the image.

    Returns:
        Rows and columns of the image, with start and stop; empty if there are none.
    """
    reached = logits > threshold
    rows = _touched(reached.any(axis=1), input_size[0], original_size[0])
    columns = _touched(reached.any(axis=0), input_size[1], original_size[1])
    return rows, columns


def upscaled_bands(
    logits: NDArray[np.float32],
    input_size: tuple[int, int],
    original_size: tuple[int, int],
    window: tuple[slice, slice],
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Scale a mask's logits band by band, so that what is done with them finds them in the cache.

    Args:
        logits: (256, 256) float32.
        input_size: (height, width) of the image in the 1024 frame.
        original_size: (height, width) of the image.
        window: rows and columns of the image, with start and stop.

    Yields:
        Rows of the window, counted from its start, and their logits, (rows, width) float32.
    """
    rows, columns = window
    width = columns.stop - columns.start
    wide = np.empty((width, LOW_RES_SIZE), np.float32)
    for pixels, cells, matrix in _part(axes.get(input_size[1], original_size[1]).bands, columns):
        _multiply(matrix, logits.T[cells], wide[pixels])
    for pixels, cells, matrix in _part(axes.get(input_size[0], original_size[0]).bands, rows):
        values = np.empty((len(matrix), width), np.float32)
        _multiply(matrix, wide.T[cells], values)
        yield pixels, values


def _touched(cells: NDArray[np.bool_], valid: int, size: int) -> slice:
    """Give an axis's pixels from the first to the last that one of these cells contributes to."""
    axis = axes.get(valid, size)
    start, stop = int(axis.first[cells].min(initial=size)), int(axis.end[cells].max(initial=0))
    return slice(start, stop) if start < stop else slice(0, 0)


def _multiply(
    matrix: NDArray[np.float32], values: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Compute matrix @ values in products for one thread."""
    step = max(1, SERIAL_PRODUCT // matrix.size)
    for left in range(0, values.shape[1], step):
        part = slice(left, left + step)
        np.matmul(matrix, values[:, part], out=out[:, part])


def _part(bands: Iterable[Band], window: slice) -> Iterator[Band]:
    """Give the bands of an axis that reach into a window, cut off and counted from its start."""
    for pixels, cells, matrix in bands:
        start, stop = max(pixels.start, window.start), min(pixels.stop, window.stop)
        if start < stop:
            inside = slice(start - window.start, stop - window.start)
            yield inside, cells, matrix[start - pixels.start : stop - pixels.start]
