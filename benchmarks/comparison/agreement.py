"""Whether two sides computed the same, by the bounds of the parity gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimsam_build import parity
from slimsam_build.errors import ParityError
from slimsam_client.parity.figures import Figures, largest_difference, mask_overlaps, relative_error

Arrays = Mapping[str, NDArray[Any]]
"""Of `image_embeddings`; or `masks`, logits or bool (..., H, W), and `scores`."""

LEAST_PARTNER_IOU: Final = 0.98
MOST_EXTRA: Final = 0.01


def difference(expected: Arrays, found: Arrays, precision: str) -> str | None:
    """Compare a side's answer with `SamModel`'s.

    Args:
        expected: of `SamModel`.
        found: of the side.
        precision: "fp32", "fp16" or "bf16": whose bounds hold.

    Returns:
        Which figures miss which bounds, or None where the answers agree.
    """
    error, overlaps, score_error = 0.0, np.ones(1), 0.0
    if "image_embeddings" in expected:
        error = relative_error(found["image_embeddings"], expected["image_embeddings"])
    if "masks" in expected:
        overlaps = mask_overlaps(_as_bool(found["masks"]), _as_bool(expected["masks"]))
        score_error = largest_difference(found["scores"], expected["scores"])
    figures = Figures(error, float(overlaps.mean()), float(overlaps.min()), score_error)
    try:
        parity.check(figures, precision)
    except ParityError as failure:
        return str(failure)
    return None


def records_differ(expected: Sequence[NDArray[np.bool_]], found: Sequence[NDArray[np.bool_]]) -> (
    str | None
):  # fmt: skip
    """Compare the masks of everything mode: each of theirs needs a partner of its own in ours.

    Args:
        expected: masks (H, W) of the reference.
        found: masks (H, W) of the side.

    Returns:
        What is missing or too much, or None.
    """
    if not expected:
        return "expected some masks to compare, found none"
    left = list(found)
    lonely = 0
    for mask in expected:
        ious = [float(np.sum(mask & other)) / max(int(np.sum(mask | other)), 1) for other in left]
        best = int(np.argmax(ious)) if ious else -1
        if best < 0 or ious[best] < LEAST_PARTNER_IOU:
            lonely += 1
        else:
            left.pop(best)
    if lonely:
        return (
            f"{lonely} of {len(expected)} masks have no partner of IoU {LEAST_PARTNER_IOU} "
            f"among {len(found)}"
        )
    if len(found) > len(expected) * (1 + MOST_EXTRA):
        return f"expected {len(expected)} masks, and at most 1 % more, found {len(found)}"
    return None


def _as_bool(masks: NDArray[Any]) -> NDArray[np.bool_]:
    return masks if masks.dtype == bool else masks > 0
