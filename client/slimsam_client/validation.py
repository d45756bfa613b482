"""The contract's values: what tensors of the right names, dtypes and dims may hold.

Triton checks names, dtypes and dims itself, and leaves values to its backends. In the C++ ones a
bad value ends in an error or a useless mask for that request alone; the stand-ins of slimsam-serve
and `testing.FakeServer` look here first, and answer INVALID_ARGUMENT with what was expected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import IMAGE_SIZE, MAX_POINTS, MAX_PROMPTS, POINT_LABELS
from slimsam_client.wire import Arrays


def find_problem(inputs: Arrays) -> str | None:
    """Look for what the contract forbids.

    Args:
        inputs: a request's tensors by name, with their batch axis; of the encoder, the decoder or
            the ensemble of both.

    Returns:
        What was expected and what came, or None.
    """
    problem = _image_problem(inputs["input_size"]) if "input_size" in inputs else None
    if problem is None and "point_coords" in inputs:
        problem = _prompt_problem(inputs)
    return problem


def is_empty(inputs: Arrays) -> bool:
    """Whether a valid request has no prompts (P = 0), so that its answer is empty."""
    return "point_coords" in inputs and inputs["point_coords"].shape[1] == 0


def _image_problem(input_size: NDArray[np.int32]) -> str | None:
    if ((input_size < 1) | (input_size > IMAGE_SIZE)).any():
        return (
            f"input_size: expected (height, width) within 1..{IMAGE_SIZE}, "
            f"got {input_size.tolist()}"
        )
    return None


def _prompt_problem(inputs: Arrays) -> str | None:
    coords, labels = inputs["point_coords"], inputs["point_labels"]
    if coords.shape[:3] != labels.shape:
        return (
            "point_coords and point_labels: expected the same prompts and points, "
            f"got [P,N] = {list(coords.shape[1:3])} and {list(labels.shape[1:])}"
        )
    _, prompts, points = labels.shape
    if prompts > MAX_PROMPTS:
        return f"point_coords: expected at most {MAX_PROMPTS} prompts per request, got {prompts}"
    if prompts and not 1 <= points <= MAX_POINTS:
        return f"point_coords: expected 1 to {MAX_POINTS} points per prompt, got {points}"
    if not np.isfinite(coords).all():
        return "point_coords: expected finite numbers, got NaN or infinity"
    if not np.isin(labels, POINT_LABELS).all():
        unknown = sorted(set(np.unique(labels).tolist()) - set(POINT_LABELS))
        return f"point_labels: expected {sorted(POINT_LABELS)}, got {unknown[:8]}"
    has_mask_input = inputs["has_mask_input"]
    if not np.isin(has_mask_input, (0, 1)).all():
        return f"has_mask_input: expected 0 or 1, got {has_mask_input.ravel().tolist()}"
    for name in ("mask_input", "image_embeddings"):
        if name in inputs and not np.isfinite(inputs[name]).all():
            return f"{name}: expected finite numbers, got NaN or infinity"
    return None
