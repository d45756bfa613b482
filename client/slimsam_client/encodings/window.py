"""The RLE of a mask that lies in a known part of the image."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from slimsam_client.encodings.rle import Rle

BAND_PIXELS: Final = 2**16
"""About so many pixels are looked at together: what is made of them stays in the processor's cache,
and no memory is taken from the system for each mask anew."""


def window_to_rle(window: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """Encode a mask as `to_rle` does, without the whole mask in memory.

    Args:
        window: (h, w) bool; outside of it the mask is empty.
        corner: (y, x) of the window in the image.
        size: (height, width) of the image.
    """
    height, width = window.shape
    # There is a row of background below, so that no run goes on in the window's next column.
    stride = height + 1
    step = max(1, BAND_PIXELS // stride)
    pixels = np.zeros(step * stride + 1, np.bool_)
    parts = [np.zeros(0, np.int64)]
    for left in range(0, width, step):
        columns = window[:, left : left + step].T
        band = pixels[: len(columns) * stride + 1]
        band[1:].reshape(-1, stride)[:, :height] = columns
        column, row = np.divmod(np.flatnonzero(band[1:] != band[:-1]), stride)
        parts.append((column + (left + corner[1])) * size[0] + (row + corner[0]))
    edges = np.concatenate(parts)  # starts and ends, in turn
    # A run may go on in the image's next column.
    goes_on = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
    edges = np.delete(edges, np.concatenate([goes_on, goes_on + 1]))
    total = size[0] * size[1]
    counts = np.diff(np.concatenate([[0], edges[edges < total], [total]]))
    encoded = coco.frPyObjects({"size": list(size), "counts": counts}, *size)
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"]}
