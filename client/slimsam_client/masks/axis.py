"""Scaling along one axis, from low-resolution logits to the image's pixels: see `masks.upscale`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import IMAGE_SIZE, LOW_RES_SIZE

BAND_CELLS: Final = 4
"""The pixels of about so many cells of an axis are computed at once."""
CACHED_BYTES: Final = 8 * 2**20
"""Axes are kept in so much memory for images of the same size: about 80 sizes of 12 megapixels."""

Band = tuple[slice, slice, NDArray[np.float32]]
"""A band is a part of an axis: its pixels, the cells that these depend on, and the matrix (pixels,
cells) that computes the pixels from the cells."""


@dataclass(frozen=True, eq=False)
class Axis:
    """How the 256 cells of an axis become the image's pixels. Arrays are read-only.

    Attributes:
        bands: the pixels in order, in parts. Together they are the matrix (pixels, 256) of both
            resizes, without the zeros beside its diagonal.
        first: (256,) int64, the first pixel that each cell contributes to; the number of pixels
            if there is none.
        end: (256,) int64, the pixel after the last one that each cell contributes to, or 0.
    """

    bands: tuple[Band, ...]
    first: NDArray[np.int64]
    end: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return self.first.nbytes + self.end.nbytes + sum(band[2].nbytes for band in self.bands)


def make_axis(valid: int, size: int) -> Axis:
    """Compute an axis. Of the whole matrix, only one band at a time is in memory.

    Args:
        valid: how many of the frame's 1024 pixels belong to the image.
        size: the image's pixels.
    """
    up = _resized(np.eye(LOW_RES_SIZE), IMAGE_SIZE, slice(0, valid))
    count = max(1, valid * LOW_RES_SIZE // (IMAGE_SIZE * BAND_CELLS))
    first = np.full(LOW_RES_SIZE, size)
    end = np.zeros(LOW_RES_SIZE, np.int64)
    bands: list[Band] = []
    for index in range(count):
        pixels = slice(size * index // count, size * (index + 1) // count)
        matrix = _resized(up, size, pixels).astype(np.float32)
        touched = matrix > 0
        used = np.flatnonzero(touched.any(axis=0))
        if not len(used):  # there are fewer pixels than bands
            continue
        cells = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((pixels, cells, np.ascontiguousarray(matrix[:, cells])))
        starts = pixels.start + touched[:, used].argmax(axis=0)
        first[used] = np.minimum(first[used], starts)
        end[used] = pixels.stop - touched[::-1, used].argmax(axis=0)
    for array in (first, end, *(band[2] for band in bands)):
        array.flags.writeable = False
    return Axis(tuple(bands), first, end)


def dense_weights(axis: Axis, multiple: int) -> NDArray[np.float32]:
    """Give an axis's whole matrix, for `slimsam_masks`.

    Args:
        axis: the axis.
        multiple: rows of zeros are added up to a multiple of this.

    Returns:
        (pixels, 256) float32.
    """
    size = axis.bands[-1][0].stop
    weights = np.zeros((-(-size // multiple) * multiple, LOW_RES_SIZE), np.float32)
    for pixels, cells, matrix in axis.bands:
        weights[pixels, cells] = matrix
    return weights


class AxisCache:
    """Keeps the axes that were used last, within a number of bytes; safe to share between threads.

    Args:
        limit: the number of bytes. The last axis is kept in any case, since each mask needs it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._axes: OrderedDict[tuple[int, int], Axis] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def get(self, valid: int, size: int) -> Axis:
        """Give an axis; parameters: see `make_axis`."""
        key = (valid, size)
        with self._lock:
            if key in self._axes:
                self._axes.move_to_end(key)
                return self._axes[key]
        axis = make_axis(valid, size)  # another thread may do the same, which harms nothing
        with self._lock:
            if key not in self._axes:
                self._axes[key] = axis
                self._nbytes += axis.nbytes
            while len(self._axes) > 1 and self._nbytes > self._limit:
                self._nbytes -= self._axes.popitem(last=False)[1].nbytes
        return axis

    @property
    def nbytes(self) -> int:
        """Memory of the axes that are kept, in bytes."""
        with self._lock:
            return self._nbytes


axes: Final = AxisCache(CACHED_BYTES)
"""This cache is the process's."""


def _resized(rows: NDArray[np.float64], count: int, part: slice) -> NDArray[np.float64]:
    """Interpolate `count` rows between rows, as torch does without aligned corners or antialiasing.

    Only a part of the new rows is computed.
    """
    last = len(rows) - 1
    centers = np.maximum((np.arange(part.start, part.stop) + 0.5) * (len(rows) / count) - 0.5, 0)
    low = np.minimum(centers.astype(np.int64), last)
    high = np.minimum(low + 1, last)
    share = (centers - low)[:, None]
    resized: NDArray[np.float64] = rows[low] * (1 - share) + rows[high] * share
    return resized
