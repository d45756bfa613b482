"""Prompts: from pixels of the original image to the decoder's tensors.

The order is SAM's (segment-anything, `SamPredictor.predict` and `PromptEncoder`): points, then the
box's corners; without a box, one padding point behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.contract import (
    ABSENT,
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    LOW_RES_SIZE,
    MAX_POINTS,
    NOT_A_POINT,
    POINT_BUCKETS,
)
from slimsam_client.errors import PromptError


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
            image, edges included. With boxes, N_i may be 0.
        labels: (N,) or (P, N) or a list of P arrays (N_i,), 1 foreground or 0 background; all
            foreground if not given.
        box: (4,) or (P, 4), x0, y0, x1, y1 in pixels of the original image.
        mask_input: (256, 256) or (1, 256, 256), logits of an earlier answer; all P prompts use it.

    Returns:
        The tensors, N padded to one of the contract's sizes.

    Raises:
        PromptError: a prompt is not of these shapes or values, lies outside, or there is none.
    """
    given_points: _Points | None
    given_box = _boxes(box, original_size)
    if points is not None and _is_ragged(points):
        given_points = _ragged(points, labels, original_size, given_box is not None)
    else:
        given_points = _points(points, labels, original_size)
    mask = _mask(mask_input)
    if given_points is None and given_box is None:
        if mask is None:
            raise PromptError("expected points, a box or a mask_input, got none of them")
        coords, kinds = np.zeros((1, 0, 2)), np.zeros((1, 0), np.int32)
        single = True
    else:
        coords, kinds, single = _joined(given_points, given_box)
    scale = np.array([input_size[1] / original_size[1], input_size[0] / original_size[0]])
    count = kinds.shape[1]
    if count > MAX_POINTS:
        raise PromptError(
            f"expected at most {MAX_POINTS} points per prompt, box corners and SAM's padding point "
            f"included, got {count}; give fewer points"
        )
    pad = next(size for size in POINT_BUCKETS if size >= count) - count
    return Prompts(
        np.pad(coords * scale, ((0, 0), (0, pad), (0, 0))).astype(np.float32),
        np.pad(kinds, ((0, 0), (0, pad)), constant_values=ABSENT).astype(np.int32),
        np.zeros((1, LOW_RES_SIZE, LOW_RES_SIZE), np.float32) if mask is None else mask,
        np.array([mask is not None], np.float32),
        single,
    )


_Points = tuple[NDArray[np.float64], NDArray[np.int32], bool]
_Boxes = tuple[NDArray[np.float64], bool]


def _points(
    points: ArrayLike | None, labels: ArrayLike | None, size: tuple[int, int]
) -> _Points | None:
    """Checked points (P, N, 2), labels (P, N), and whether there was no P axis."""
    if points is None:
        if labels is not None:
            raise PromptError("expected points for the labels, got labels alone")
        return None
    coords = _numbers(points, "points")
    if coords.ndim not in (2, 3) or coords.shape[-1] != 2 or 0 in coords.shape:
        raise PromptError(
            f"points: expected shape (N, 2) or (P, N, 2) with N and P at least 1, "
            f"got {coords.shape}"
        )
    kinds = np.full(coords.shape[:-1], FOREGROUND) if labels is None else _numbers(labels, "labels")
    if kinds.shape != coords.shape[:-1]:
        raise PromptError(
            f"labels: expected one per point, shape {coords.shape[:-1]}, got {kinds.shape}"
        )
    if not np.isin(kinds, (FOREGROUND, BACKGROUND)).all():
        wrong = kinds[~np.isin(kinds, (FOREGROUND, BACKGROUND))][0]
        raise PromptError(f"labels: expected 1 (foreground) or 0 (background), got {wrong:g}")
    _check_inside(coords, size, "points")
    single = coords.ndim == 2
    coords, kinds = (coords[None], kinds[None]) if single else (coords, kinds)
    return coords, kinds.astype(np.int32), single


def _is_ragged(points: ArrayLike) -> bool:
    """Whether these are prompts of different lengths, or without points."""
    if not isinstance(points, list | tuple) or not all(map(_is_list, points)):
        return False
    lengths = set(map(len, points))
    # Points of different lengths, [[1, 2], [3]], are a mistake and no prompts.
    made_of_points = all(_is_list(prompt[0]) for prompt in points if len(prompt))
    return made_of_points and (len(lengths) > 1 or lengths == {0})


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0


def _ragged(points: Any, labels: Any, size: tuple[int, int], has_boxes: bool) -> _Points:
    """Prompts of different lengths, padded with absent points."""
    if labels is None:
        labels = [None] * len(points)
    if not isinstance(labels, list | tuple) or len(labels) != len(points):
        raise PromptError(
            f"labels: expected a list of {len(points)} arrays, one for each prompt's points"
        )
    longest = max(map(len, points))
    coords = np.zeros((len(points), longest, 2))
    kinds = np.full((len(points), longest), ABSENT, np.int32)
    for index, (prompt, given) in enumerate(zip(points, labels, strict=True)):
        count = len(prompt)
        try:
            if count == 0 and has_boxes and (given is None or np.size(given) == 0):
                continue
            checked = _points(prompt, given, size)
            if checked is None or not checked[2]:
                raise PromptError("points: expected shape (N, 2), got three axes")
        except PromptError as error:
            raise PromptError(f"prompt {index}: {error}") from error
        coords[index, :count], kinds[index, :count] = checked[0][0], checked[1][0]
    return coords, kinds, False


def _boxes(box: ArrayLike | None, size: tuple[int, int]) -> _Boxes | None:
    """Checked boxes (P, 4), and whether there was no P axis."""
    if box is None:
        return None
    boxes = _numbers(box, "box")
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4 or 0 in boxes.shape:
        raise PromptError(
            f"box: expected shape (4,) or (P, 4) with P at least 1, got {boxes.shape}"
        )
    single = boxes.ndim == 1
    boxes = boxes.reshape(-1, 4)
    _check_inside(boxes.reshape(-1, 2), size, "box")
    for x0, y0, x1, y1 in boxes:
        if x1 <= x0 or y1 <= y0:
            raise PromptError(
                f"box: expected x0 < x1 and y0 < y1, got x0, y0, x1, y1 = {x0:g}, {y0:g}, "
                f"{x1:g}, {y1:g}; is it x, y, width, height?"
            )
    return boxes, single


def _mask(mask_input: ArrayLike | None) -> NDArray[np.float32] | None:
    if mask_input is None:
        return None
    mask = _numbers(mask_input, "mask_input").astype(np.float32)
    expected = (LOW_RES_SIZE, LOW_RES_SIZE)
    if mask.shape not in (expected, (1, *expected)):
        raise PromptError(
            f"mask_input: expected low_res_logits of an earlier answer, shape {expected} or "
            f"{(1, *expected)}, got {mask.shape}"
        )
    return mask.reshape(1, *expected)


def _joined(
    points: _Points | None, boxes: _Boxes | None
) -> tuple[NDArray[np.float64], NDArray[np.int32], bool]:
    """Points, then box corners or SAM's padding point: coords (P, N, 2), labels (P, N)."""
    coords: list[NDArray[np.float64]] = []
    kinds: list[NDArray[np.int32]] = []
    singles = []
    if points is not None:
        coords.append(points[0])
        kinds.append(points[1])
        singles.append(points[2])
    if boxes is not None:
        corners = boxes[0].reshape(-1, 2, 2)
        coords.append(corners)
        kinds.append(
            np.tile(np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], np.int32), (len(corners), 1))
        )
        singles.append(boxes[1])
    else:
        count = len(coords[0])
        coords.append(np.zeros((count, 1, 2)))
        kinds.append(np.full((count, 1), NOT_A_POINT, np.int32))
    if len({len(part) for part in coords}) > 1 or len(set(singles)) > 1:
        raise PromptError(
            "expected as many boxes as points' first axis says, got "
            f"points for {len(coords[0])} prompts and {len(coords[1])} boxes; give points "
            "(P, N, 2) with boxes (P, 4), or points (N, 2) with one box (4,)"
        )
    return np.concatenate(coords, axis=1), np.concatenate(kinds, axis=1), all(singles)


def _numbers(values: ArrayLike | Sequence[Any], name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name}: expected an array of numbers, got {error}") from error
    if not np.isfinite(array).all():
        raise PromptError(f"{name}: expected finite numbers, got NaN or infinity")
    return array


def _check_inside(coords: NDArray[np.float64], size: tuple[int, int], name: str) -> None:
    height, width = size
    outside = ((coords < 0) | (coords > [width, height])).any(axis=-1)
    if outside.any():
        x, y = coords[outside][0]
        raise PromptError(
            f"{name}: expected (x, y) within 0..{width} and 0..{height} of the original image, "
            f"got ({x:g}, {y:g})"
        )
