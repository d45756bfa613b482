"""Removal of small regions and holes, as in segment-anything's `remove_small_regions`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slimsam_client.errors import MissingExtraError


def remove_small_regions(mask: NDArray[np.bool_], min_area: int) -> tuple[NDArray[np.bool_], bool]:
    """Fill small holes, then drop small regions; the largest region always stays.

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
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    small = np.flatnonzero(areas < min_area) + 1
    if not len(small):
        return mask, False
    if holes:
        return mask | np.isin(parts, small), True
    keep = np.setdiff1d(np.arange(1, count + 1), small)
    if not len(keep):
        keep = np.array([areas.argmax() + 1])
    return np.isin(parts, keep), True
