"""Masks: from low-resolution logits to the original image's pixels.

SAM resizes 256 to 1024, cuts the padding off, and resizes to the image, bilinear both times
(segment-anything, `Sam.postprocess_masks`). Both steps are linear and work on rows and columns
separately, so together they are two matrices: `rows @ logits @ columns.T`. A pixel depends on two
or three cells of an axis, so the matrices are applied in bands, each to the cells that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import IMAGE_SIZE, LOW_RES_SIZE, MASK_THRESHOLD

BAND_CELLS: Final = 4
"""Cells of an axis, about, whose pixels are computed at once."""
SERIAL_PRODUCT: Final = 2**18
"""Multiplications up to which OpenBLAS takes one thread for a product (its interface/gemm.c). More
threads gain little here, and spin for a while afterwards, on cores that a server on the same
machine needs for the next click."""

Bands = tuple[tuple[slice, slice, NDArray[np.float32]], ...]
"""Of an axis: pixels, the cells that they depend on, and the matrix from these to those."""


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
    # Filled with zeros where it must: NumPy asks for large pages in `empty`, and not in `zeros`.
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
        threshold: to be exceeded.
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
    for pixels, cells, matrix in _part(resize_bands(input_size[1], original_size[1]), columns):
        _multiply(matrix, logits.T[cells], wide[pixels])
    for pixels, cells, matrix in _part(resize_bands(input_size[0], original_size[0]), rows):
        values = np.empty((len(matrix), width), np.float32)
        _multiply(matrix, wide.T[cells], values)
        yield pixels, values


def _touched(cells: NDArray[np.bool_], valid: int, size: int) -> slice:
    """From the first to the last pixel of an axis to which one of these cells contributes."""
    first, end = _contributions(valid, size)
    start, stop = int(first[cells].min(initial=size)), int(end[cells].max(initial=0))
    return slice(start, stop) if start < stop else slice(0, 0)


@lru_cache(maxsize=32)
def _contributions(valid: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each cell of an axis, the first pixel that it contributes to, and the last one's next."""
    touched = resize_matrix(valid, size) > 0  # (size, 256)
    some = touched.any(axis=0)
    first = np.where(some, touched.argmax(axis=0), size)
    end = np.where(some, size - touched[::-1].argmax(axis=0), 0)
    return first, end


def _multiply(
    matrix: NDArray[np.float32], values: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Compute matrix @ values in products for one thread."""
    step = max(1, SERIAL_PRODUCT // matrix.size)
    for left in range(0, values.shape[1], step):
        part = slice(left, left + step)
        np.matmul(matrix, values[:, part], out=out[:, part])


def _part(bands: Bands, window: slice) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Those bands of an axis that reach into a window, cut off and counted from its start."""
    for pixels, cells, matrix in bands:
        start, stop = max(pixels.start, window.start), min(pixels.stop, window.stop)
        if start < stop:
            inside = slice(start - window.start, stop - window.start)
            yield inside, cells, matrix[start - pixels.start : stop - pixels.start]


@lru_cache(maxsize=32)
def resize_bands(valid: int, size: int) -> Bands:
    """Cut `resize_matrix` into bands without the zeros beside them; parameters: see there."""
    matrix = resize_matrix(valid, size)
    count = max(1, valid * LOW_RES_SIZE // (IMAGE_SIZE * BAND_CELLS))
    bands = []
    for index in range(count):
        pixels = slice(size * index // count, size * (index + 1) // count)
        used = np.flatnonzero(matrix[pixels].any(axis=0))
        if len(used):  # else there are fewer pixels than bands
            cells = slice(int(used[0]), int(used[-1]) + 1)
            bands.append((pixels, cells, np.ascontiguousarray(matrix[pixels, cells])))
    return tuple(bands)


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
