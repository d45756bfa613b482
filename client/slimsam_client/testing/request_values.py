"""Checks for values that the contract forbids: they get NaN, as from the repository's graphs.

The rules are those of `slimsam_build.graphs.request_values` and `request_shapes`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import (
    ABSENT,
    IMAGE_SIZE,
    MAX_POINTS,
    MAX_PROMPTS,
    POINT_LABELS,
    Arrays,
)


def is_possible(input_size: NDArray[np.int32]) -> bool:
    """Whether an image can be of a size (2,) in the 1024 frame."""
    return bool(((input_size >= 1) & (input_size <= IMAGE_SIZE)).all())


def usable_inputs(inputs: Arrays) -> tuple[Arrays, NDArray[np.bool_]]:
    """Put harmless values in the place of forbidden ones.

    Args:
        inputs: the decoder's inputs, without a batch axis.

    Returns:
        The inputs, of at most MAX_PROMPTS prompts; and (P,) bool: which of them get NaN.
    """
    coords, labels = inputs["point_coords"], inputs["point_labels"]
    count, length = coords.shape[:2]
    kept = min(count, MAX_PROMPTS)
    fits = labels.shape == (count, length) and count <= MAX_PROMPTS and 1 <= length <= MAX_POINTS
    if not fits:
        coords = np.zeros((kept, 1, 2), np.float32)
        labels = np.full((kept, 1), ABSENT, np.int32)
        refused = np.ones(kept, np.bool_)
    else:
        finite = np.isfinite(coords).all(axis=2)
        refused = (~np.isin(labels, POINT_LABELS) | (~finite & (labels != ABSENT))).any(axis=1)
        coords = np.where(finite[..., None], coords, 0)
    has_mask = inputs["has_mask_input"][0]
    mask = inputs["mask_input"]
    mask_is_finite = np.isfinite(mask).all()
    embeddings = inputs["image_embeddings"]
    if has_mask not in (0, 1) or (has_mask and not mask_is_finite):
        refused[:] = True
    if has_mask != 1 or not mask_is_finite:
        mask = np.zeros_like(mask)
    if not np.isfinite(embeddings).all():
        embeddings = np.zeros_like(embeddings)
        refused[:] = True
    usable = {
        "image_embeddings": embeddings,
        "point_coords": coords,
        "point_labels": labels,
        "mask_input": mask,
        "has_mask_input": np.array([has_mask == 1], np.float32),
    }
    return usable, refused
