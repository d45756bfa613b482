"""Boxes of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slimsam_client.encodings.mask import checked_mask


def to_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Give x0, y0, x1, y1 in pixels, right and lower edge exclusive; None for an empty mask.

    Raises:
        MaskError: the mask is no bool array (H, W).
    """
    mask = checked_mask(mask)
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
