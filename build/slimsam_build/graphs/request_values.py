"""Values of a request that the contract forbids, inside the graphs.

Triton checks names, dtypes and ranks; its C++ backends look at no value, and an error from inside a
graph says nothing to its caller (in OpenVINO's CPU plugin it even breaks the requests that follow).
So a graph never fails: a prompt with a forbidden value is computed with harmless values in their
place, and its answer is NaN, on every target. docs/contract.md has the table.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from slimsam_client.contract import ABSENT, BOX_BOTTOM_RIGHT

LARGEST = {torch.float16: 65504.0, torch.float32: 3.4e38}
"""What a finite number is at most. Compared with, for ONNX's IsNaN and IsInf are not everywhere."""


class DecoderInputs(NamedTuple):
    """The decoder's inputs, as the contract has them."""

    image_embeddings: Tensor
    point_coords: Tensor
    point_labels: Tensor
    mask_input: Tensor
    has_mask_input: Tensor


def usable_inputs(
    image_embeddings: Tensor,
    point_coords: Tensor,
    point_labels: Tensor,
    mask_input: Tensor,
    has_mask_input: Tensor,
) -> tuple[DecoderInputs, Tensor]:
    """Put harmless values in the place of forbidden ones.

    Coordinates of absent points may be anything, and so may a `mask_input` that does not count.

    Args:
        image_embeddings: (B, 256, 64, 64) float16.
        point_coords: (B, P, N, 2) float32.
        point_labels: (B, P, N) int32.
        mask_input: (B, 1, 256, 256) float32.
        has_mask_input: (B, 1) float32.

    Returns:
        The inputs, and (B, P) bool: which prompts had a forbidden value.
    """
    embeddings_wrong, mask_wrong = _not_finite(image_embeddings), _not_finite(mask_input)
    embeddings = _zero_where(embeddings_wrong, image_embeddings)
    has = has_mask_input == 1  # (B, 1)
    # Finite logits, too: 0 times what overflows on the way is NaN.
    mask = _zero_where(mask_wrong | ~has.unsqueeze(2).unsqueeze(3), mask_input)
    unknown_has = (has_mask_input != 0) & (has_mask_input != 1)
    image_wrong = _any(embeddings_wrong) | (_any(mask_wrong) & has) | unknown_has  # (B, 1)

    present = point_labels != ABSENT
    known = (point_labels >= ABSENT) & (point_labels <= BOX_BOTTOM_RIGHT)
    finite = (point_coords.abs() <= LARGEST[torch.float32]).to(torch.int32).sum(3) == 2
    wrong = (~known | (present & ~finite)).to(torch.int32).sum(2) > 0  # (B, P)
    usable = (present & finite).unsqueeze(3)
    coords = torch.where(usable, point_coords, torch.zeros_like(point_coords))
    has_mask = has.to(has_mask_input.dtype)
    inputs = DecoderInputs(embeddings, coords, point_labels, mask, has_mask)
    return inputs, wrong | image_wrong


def usable_size(input_size: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Bring sizes (B, 2) into 1..largest; and tell (B, 1) which rows were outside."""
    inside = input_size.clamp(1, largest)
    return inside, ((inside != input_size).to(torch.int32).sum(1) > 0).unsqueeze(1)


def nan_where(refused: Tensor, values: Tensor) -> Tensor:
    """Give the values, and NaN where `refused`, which is broadcast, is true."""
    return torch.where(refused, torch.full_like(values, float("nan")), values)


def _not_finite(values: Tensor) -> Tensor:
    return ~(values.abs() <= LARGEST[values.dtype])


def _zero_where(condition: Tensor, values: Tensor) -> Tensor:
    return torch.where(condition, torch.zeros_like(values), values)


def _any(condition: Tensor) -> Tensor:
    """Say of conditions (B, ...) in (B, 1) whether one holds."""
    # Counted, since runtimes differ in whether the largest of some numbers and NaN is NaN.
    return (condition.flatten(1).to(torch.int32).sum(1) > 0).unsqueeze(1)
