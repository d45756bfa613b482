"""Removal of small regions and holes, as in segment-anything's `remove_small_regions`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.errors import MissingExtraError

BAND_PIXELS: Final = 2**20
"""So many pixels are counted and looked up at once."""


def remove_small_regions(mask: NDArray[np.bool_], min_area: int) -> tuple[NDArray[np.bool_], bool]:
    """Fill small holes, then drop small regions; the largest region always stays.

    While it works, it takes about 7 bytes per pixel.

    Args:
        mask: (H, W) bool.
        min_area: pixels below which a hole or a region is small; pixels that touch at a corner
            are one region.

    Returns:
        The mask, and whether anything was changed.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    filled, had_holes = _without_small(mask, min_area, holes=True)
    cleaned, had_islands = _without_small(filled, min_area, holes=False)
    return cleaned, had_holes or had_islands


def _without_small(
    mask: NDArray[np.bool_], min_area: int, holes: bool
) -> tuple[NDArray[np.bool_], bool]:
    try:
        from scipy import ndimage
    except ImportError as error:
        raise MissingExtraError(
            "min_mask_region_area: expected scipy, found none; "
            "run `pip install slimsam-client[regions]`, or leave it at 0"
        ) from error
    parts, count = ndimage.label(mask ^ holes, structure=np.ones((3, 3)))
    numbers = parts.reshape(-1)
    # NumPy counts and looks up by numbers of 64 bits, so that is done in bands.
    bands = [slice(start, start + BAND_PIXELS) for start in range(0, numbers.size, BAND_PIXELS)]
    areas = np.zeros(count + 1, np.int64)
    for band in bands:
        areas += np.bincount(numbers[band], minlength=count + 1)
    chosen = areas < min_area
    chosen[0] = False  # what is no part
    if not chosen.any():
        return mask, False
    if not holes:
        chosen[1:] = ~chosen[1:]
        if not chosen.any():
            chosen[areas[1:].argmax() + 1] = True
    changed = np.empty(numbers.size, np.bool_)
    for band in bands:
        changed[band] = chosen[numbers[band]]
    found = changed.reshape(mask.shape)
    return (np.logical_or(found, mask, out=found) if holes else found), True
