"""The encoding of prompts, from pixels of the original image to the decoder's tensors.

The order is SAM's (segment-anything, `SamPredictor.predict` and `PromptEncoder`): points, then the
box's corners; without a box, one padding point behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.contract import (
    ABSENT,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    LOW_RES_SIZE,
    MAX_POINTS,
    MAX_PROMPTS,
    NOT_A_POINT,
    POINT_BUCKETS,
    Arrays,
)
from slimsam_client.errors import PromptError
from slimsam_client.prompts.values import Boxes, Points, check_mask_input, check_prompts


@dataclass(frozen=True)
class Prompts:
    """The decoder's prompt tensors, without a batch axis.

    Attributes:
        point_coords: (P, N, 2) float32, (x, y) in the 1024 frame.
        point_labels: (P, N) int32, the contract's labels.
        mask_input: (1, 256, 256) float32 logits; zeros if there is none.
        has_mask_input: (1,) float32, 1 or 0.
        single: whether the user gave one prompt, without a P axis.
    """

    point_coords: NDArray[np.float32]
    point_labels: NDArray[np.int32]
    mask_input: NDArray[np.float32]
    has_mask_input: NDArray[np.float32]
    single: bool


def encode_prompts(
    original_size: tuple[int, int],
    input_size: tuple[int, int],
    points: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    box: ArrayLike | None = None,
    mask_input: ArrayLike | None = None,
) -> Prompts:
    """Check prompts and encode them.

    Args:
        original_size: (height, width) of the image.
        input_size: (height, width) of the image in the 1024 frame.
        points: (N, 2) or (P, N, 2) or a list of P arrays (N_i, 2), (x, y) in pixels of the original
            image, edges included. P may be 0, as in []; with boxes, N and N_i may be 0.
        labels: (N,) or (P, N) or a list of P arrays (N_i,), 1 foreground or 0 background; all
            foreground if not given.
        box: (4,) or (P, 4), x0, y0, x1, y1 in pixels of the original image. P may be 0.
        mask_input: (256, 256) or (1, 256, 256), logits of one mask; all P prompts use it.

    Returns:
        The tensors, N padded to one of the contract's sizes.

    Raises:
        PromptError: a prompt is not of these shapes or values, lies outside, or there is none.
    """
    given, boxes = check_prompts(points, labels, box, original_size)
    mask = check_mask_input(mask_input)
    return encode_checked(given, boxes, mask, original_size, input_size)


def encode_checked(
    points: Points | None,
    boxes: Boxes | None,
    mask: NDArray[np.float32] | None,
    original_size: tuple[int, int],
    input_size: tuple[int, int],
) -> Prompts:
    """Encode prompts that have been checked each by itself.

    Args:
        points: as `check_prompts` gives them.
        boxes: likewise.
        mask: as `check_mask_input` gives it.
        original_size: (height, width) of the image.
        input_size: (height, width) of the image in the 1024 frame.

    Raises:
        PromptError: there are none, or too many points.
    """
    count = check_count(points, boxes, mask is not None)
    padded = next(size for size in POINT_BUCKETS if size >= count)
    prompts = next((len(part[0]) for part in (points, boxes) if part is not None), 1)
    scale = np.array([input_size[1] / original_size[1], input_size[0] / original_size[0]])
    coords = np.zeros((prompts, padded, 2), np.float32)
    labels = np.full((prompts, padded), ABSENT, np.int32)
    given = 0
    if points is not None:
        given = points.labels.shape[1]
        coords[:, :given], labels[:, :given] = points.coords * scale, points.labels
    if boxes is not None:
        coords[:, given : given + 2] = boxes.corners.reshape(-1, 2, 2) * scale
        labels[:, given : given + 2] = BOX_TOP_LEFT, BOX_BOTTOM_RIGHT
    elif points is not None:
        labels[:, given] = NOT_A_POINT
    return Prompts(
        coords,
        labels,
        np.zeros((1, LOW_RES_SIZE, LOW_RES_SIZE), np.float32) if mask is None else mask,
        np.array([mask is not None], np.float32),
        is_single(points, boxes),
    )


def check_count(points: Points | None, boxes: Boxes | None, has_mask: bool) -> int:
    """Count the points of a prompt, box corners and SAM's padding point included.

    Args:
        points: as `check_prompts` gives them.
        boxes: likewise.
        has_mask: whether there is a mask to refine beside them.

    Raises:
        PromptError: there are none of the three, or too many points.
    """
    if points is None and boxes is None and not has_mask:
        raise PromptError("expected points, a box or a mask_input, got none of them")
    count = 0 if points is None else points.labels.shape[1]
    if boxes is not None:
        count += 2
    elif points is not None:
        count += 1
    if count > MAX_POINTS:
        raise PromptError(
            f"expected at most {MAX_POINTS} points per prompt, box corners and SAM's padding point "
            f"included, got {count}; give fewer points"
        )
    return count


def is_single(points: Points | None, boxes: Boxes | None) -> bool:
    """Whether the user gave one prompt, without a P axis."""
    return all(part is None or part.single for part in (points, boxes))


def split_prompts(prompts: Prompts) -> Iterator[Prompts]:
    """Cut prompts into requests of at most MAX_PROMPTS."""
    for start in range(0, len(prompts.point_labels), MAX_PROMPTS):
        part = slice(start, start + MAX_PROMPTS)
        yield replace(
            prompts,
            point_coords=prompts.point_coords[part],
            point_labels=prompts.point_labels[part],
        )


def prompt_arrays(prompts: Prompts) -> Arrays:
    """Name the prompt tensors as the decoder's inputs."""
    return {
        "point_coords": prompts.point_coords,
        "point_labels": prompts.point_labels,
        "mask_input": prompts.mask_input,
        "has_mask_input": prompts.has_mask_input,
    }
