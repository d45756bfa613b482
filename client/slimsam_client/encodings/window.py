"""The RLE of a mask that lies in a known part of the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from slimsam_client.encodings.rle import Rle


def window_to_rle(window: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """Encode a mask as `to_rle` does, without the whole mask in memory.

    Args:
        window: (h, w) bool; outside of it the mask is empty.
        corner: (y, x) of the window in the image.
        size: (height, width) of the image.
    """
    height, width = window.shape
    # There is a row of background below, so that no run goes on in the window's next column.
    columns = np.zeros((width, height + 1), np.bool_)
    columns[:, :height] = window.T
    column, row = np.divmod(np.flatnonzero(np.diff(columns.ravel(), prepend=False)), height + 1)
    edges = (column + corner[1]) * size[0] + row + corner[0]  # starts and ends, in turn
    # A run may go on in the image's next column.
    goes_on = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
    edges = np.delete(edges, np.concatenate([goes_on, goes_on + 1]))
    total = size[0] * size[1]
    counts = np.diff(np.concatenate([[0], edges[edges < total], [total]]))
    encoded = coco.frPyObjects({"size": list(size), "counts": counts.tolist()}, *size)
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"]}
