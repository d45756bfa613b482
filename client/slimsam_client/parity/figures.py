"""The figures of the build's parity gate: how far two computations of the same masks are apart.

The build compares artifacts with `SamModel` by them, and `slimsam health` a running server with the
answer that the build kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SMALL_MASK: Final = 256
"""In a mask of fewer pixels, of 65,536, one more or less says little of exactness."""


@dataclass(frozen=True)
class Figures:
    """How far two computations are apart, or how far they may be.

    Attributes:
        embedding_error: largest difference of embeddings, relative to the largest value.
        mask_iou_mean: mean IoU of thresholded masks.
        mask_iou_min: least IoU of thresholded masks.
        score_error: largest difference of predicted IoU.
    """

    embedding_error: float
    mask_iou_mean: float
    mask_iou_min: float
    score_error: float

    def beyond(self, bounds: Figures) -> list[str]:
        """Name the figures that miss their bounds, with both values; NaN misses every bound."""
        missed = []
        for name, value in asdict(self).items():
            bound = getattr(bounds, name)
            is_least = name.startswith("mask_iou")
            if not (value >= bound if is_least else value <= bound):
                limit = "at least" if is_least else "at most"
                missed.append(f"{name} {value:.6g}, expected {limit} {bound:g}")
        return missed


def compare(
    embeddings: tuple[NDArray[Any], NDArray[Any]],
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    scores: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Figures:
    """Compare what was found with what was expected, each pair in this order.

    Args:
        embeddings: two arrays of any equal shape.
        masks: two arrays (..., 256, 256) bool.
        scores: two arrays of any equal shape.

    Returns:
        The figures; infinite errors where something is NaN.
    """
    overlaps = mask_overlaps(*masks)
    return Figures(
        relative_error(*embeddings),
        float(overlaps.mean()),
        float(overlaps.min()),
        largest_difference(*scores),
    )


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Give the largest difference, relative to the largest expected value; infinite for NaN."""
    expected = expected.astype(np.float32)
    return largest_difference(found, expected) / float(np.abs(expected).max())


def largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Give the largest difference of two arrays; infinite for NaN, which must not seem small."""
    difference = np.abs(found.astype(np.float32) - expected.astype(np.float32)).max()
    return float(np.nan_to_num(difference, nan=np.inf))


def mask_overlaps(found: NDArray[np.bool_], expected: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give the IoU of each mask of (..., 256, 256), flat; small ones count as SMALL_MASK pixels."""
    union = (found | expected).sum((-2, -1))
    differing = (found ^ expected).sum((-2, -1))
    overlaps: NDArray[np.float64] = (1 - differing / np.maximum(union, SMALL_MASK)).ravel()
    return overlaps
