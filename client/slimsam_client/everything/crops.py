"""The crops of the image and the grids of points that everything mode segments by.

Their geometry is that of segment-anything's `generate_crop_boxes` and `build_point_grid`
(utils/amg.py).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CropBox = tuple[int, int, int, int]
"""A crop box is x0, y0, x1, y1 in pixels."""


def crop_boxes(height: int, width: int, n_layers: int, overlap_ratio: float) -> list[list[CropBox]]:
    """Cut an image into crops.

    Args:
        height: height of the image.
        width: width of the image.
        n_layers: layers beside the whole image; layer i has 2**i crops along each side.
        overlap_ratio: overlap of layer 1, as a share of the image's short side.

    Returns:
        The crops of each layer; layer 0 is the whole image. Those without a pixel, which an image
        of a few pixels would have, are left out.
    """
    layers = [[(0, 0, width, height)]]
    for layer in range(1, n_layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height, width) * 2 / count)
        crop_width, crop_height = (
            math.ceil((overlap * (count - 1) + side) / count) for side in (width, height)
        )
        layers.append(
            [
                (x, y, min(x + crop_width, width), min(y + crop_height, height))
                for x in ((crop_width - overlap) * index for index in range(count))
                for y in ((crop_height - overlap) * index for index in range(count))
                if x < width and y < height
            ]
        )
    return layers


def point_grid(per_side: int, height: int, width: int) -> NDArray[np.float64]:
    """Spread points evenly over a crop.

    Returns:
        (per_side ** 2, 2) float64, (x, y) in pixels, row by row.
    """
    steps = (np.arange(per_side) + 0.5) / per_side
    x, y = np.meshgrid(steps * width, steps * height)
    return np.stack([x.ravel(), y.ravel()], axis=-1)
