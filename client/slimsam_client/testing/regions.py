"""Regions of a picture: the connected pixels around a place that have much the same color."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

TOLERANCE: Final = 32
"""A color may be this far from the clicked one, in each channel of 0..255."""


class Regions:
    """Finds the regions of a picture, each once.

    Args:
        picture: (H, W, 3) float32, colors 0..255.
    """

    def __init__(self, picture: NDArray[np.float32]) -> None:
        self._picture = picture
        self._found: list[tuple[NDArray[np.float32], Mask]] = []

    def at(self, row: int, column: int) -> Mask:
        """Give the region (H, W) bool that a place is in."""
        color = self._picture[row, column]
        for other, region in self._found:
            if region[row, column] and (other == color).all():
                return region
        similar = (np.abs(self._picture - color) <= TOLERANCE).all(axis=-1)
        region = _connected(similar, row, column)
        self._found.append((color, region))
        return region


def _connected(similar: Mask, row: int, column: int) -> Mask:
    """The connected component of a mask at one of its places, by sides and not corners.

    It grows along whole runs of rows and columns at once, so a round shape takes a few turns.
    """
    along_rows, along_columns = _runs(similar), _runs(similar.T).T
    region = np.zeros_like(similar)
    region[row, column] = True
    size = 0
    while size != (size := np.count_nonzero(region)):
        for runs in (along_rows, along_columns):
            reached = np.zeros(runs.max() + 1, np.bool_)
            reached[runs[region]] = True
            region = similar & reached[runs]
    return region


def _runs(similar: Mask) -> NDArray[np.int64]:
    """Number the runs of each row: the same within a run, another in each other run."""
    ends = np.pad(~similar, ((0, 0), (0, 1)), constant_values=True)
    return np.cumsum(ends.ravel(), dtype=np.int64).reshape(ends.shape)[:, :-1]
