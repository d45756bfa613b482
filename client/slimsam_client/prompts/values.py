"""Checks of prompts as users have them, in pixels of the original image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.contract import ABSENT, BACKGROUND, FOREGROUND, LOW_RES_SIZE
from slimsam_client.errors import PromptError
from slimsam_client.quoting import quoted, quoted_value


class Points(NamedTuple):
    """Points of P prompts.

    Attributes:
        coords: (P, N, 2) float64, (x, y) within the image.
        labels: (P, N) int32, FOREGROUND, BACKGROUND, or ABSENT where a prompt has fewer points.
        single: whether the user gave one prompt, without a P axis.
    """

    coords: NDArray[np.float64]
    labels: NDArray[np.int32]
    single: bool


class Boxes(NamedTuple):
    """Boxes of P prompts.

    Attributes:
        corners: (P, 4) float64, x0, y0, x1, y1 within the image.
        single: whether the user gave one box, without a P axis.
    """

    corners: NDArray[np.float64]
    single: bool


def check_prompts(
    points: ArrayLike | None, labels: ArrayLike | None, box: ArrayLike | None, size: tuple[int, int]
) -> tuple[Points | None, Boxes | None]:
    """Check points and boxes; parameters: see `prompts.encode_prompts`.

    Less than a pixel outside the image is rounding, and is clipped.

    Raises:
        PromptError: they are not of these shapes or values, lie outside, or do not fit together.
    """
    boxes = _boxes(box, size)
    if points is None:
        if labels is not None:
            raise PromptError("expected points for the labels, got labels alone")
        return None, boxes
    if _is_ragged(points):
        given: Points | None = _ragged(points, labels, size, boxes is not None)
    else:
        given = _points(points, labels, size, boxes)
    if given and boxes:
        counts = len(given.coords), len(boxes.corners)
        if counts[0] != counts[1] or given.single != boxes.single:
            raise PromptError(
                "expected as many boxes as points' first axis says, got points for "
                f"{counts[0]} prompts and {counts[1]} boxes; give points (P, N, 2) with boxes "
                "(P, 4), or points (N, 2) with one box (4,)"
            )
    return given, boxes


def check_mask_input(mask_input: ArrayLike | None) -> NDArray[np.float32] | None:
    """Give logits as (1, 256, 256) float32.

    Raises:
        PromptError: they are not the logits of one mask.
    """
    if mask_input is None:
        return None
    mask = as_numbers(mask_input, "mask_input")
    expected = (LOW_RES_SIZE, LOW_RES_SIZE)
    if mask.shape[-2:] != expected or mask.size != LOW_RES_SIZE**2:
        advice = ""
        if mask.ndim > 2 and mask.shape[-2:] == expected:
            advice = (
                "; one mask serves all prompts of a call: give an answer's best_logits, "
                "and call once for each prompt"
            )
        raise PromptError(
            f"mask_input: expected best_logits of one prompt's answer, shape {expected} or "
            f"{(1, *expected)}, got {mask.shape}{advice}"
        )
    with np.errstate(over="ignore"):  # numbers too large for float32 become infinite
        logits = mask.astype(np.float32).reshape(1, *expected)
    if not np.isfinite(logits).all():
        raise PromptError("mask_input: expected finite numbers, got NaN or infinity")
    return logits


def as_numbers(values: ArrayLike | None, name: str) -> NDArray[np.float64]:
    """Give numbers of any type as an array, in the shape that they have.

    Raises:
        PromptError: they are no numbers, such as text, or rows of different lengths.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind in "biufO":  # fractions and decimals are of kind O
            return array.astype(np.float64)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise PromptError(
            f"{name}: expected an array of numbers, got {quoted(str(error))}"
        ) from error
    raise PromptError(f"{name}: expected an array of numbers, got {quoted_value(values)}")


def _points(
    points: ArrayLike, labels: ArrayLike | None, size: tuple[int, int], boxes: Boxes | None
) -> Points | None:
    """Check points of one array; give None for no points beside a single box."""
    coords = as_numbers(points, "points")
    single = coords.ndim == 2
    if coords.size == 0 and (labels is None or np.size(as_numbers(labels, "labels")) == 0):
        if boxes and boxes.single and coords.shape in ((0,), (0, 2)):
            return None
        if coords.shape == (0,):
            coords = np.zeros((0, 0, 2))
        if coords.shape[2:] == (2,) and (len(coords) == 0 or boxes):
            return Points(coords, np.zeros(coords.shape[:-1], np.int32), False)
    if coords.ndim not in (2, 3) or coords.shape[-1] != 2 or coords.size == 0:
        raise PromptError(
            f"points: expected shape (N, 2) or (P, N, 2) with N at least 1, got {coords.shape}"
        )
    given = np.full(coords.shape[:-1], FOREGROUND) if labels is None else labels
    point_labels = as_numbers(given, "labels")
    if point_labels.shape != coords.shape[:-1]:
        raise PromptError(
            f"labels: expected one per point, shape {coords.shape[:-1]}, got {point_labels.shape}"
        )
    unknown = np.argwhere(~np.isin(point_labels, (FOREGROUND, BACKGROUND)))
    if len(unknown):
        index = tuple(unknown[0])
        raise PromptError(
            f"{_name('label', index)}: expected 1 (foreground) or 0 (background), "
            f"got {_shown(point_labels[index])}"
        )
    coords = _inside(coords, size, "point")
    if single:
        coords, point_labels = coords[None], point_labels[None]
    return Points(coords, point_labels.astype(np.int32), single)


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


def _ragged(points: Any, labels: Any, size: tuple[int, int], has_boxes: bool) -> Points:
    """Check prompts of different lengths, and pad them with absent points."""
    if labels is None:
        labels = [None] * len(points)
    if not isinstance(labels, list | tuple) or len(labels) != len(points):
        raise PromptError(
            f"labels: expected a list of {len(points)} arrays, one for each prompt's points"
        )
    longest = max(map(len, points))
    coords = np.zeros((len(points), longest, 2))
    point_labels = np.full((len(points), longest), ABSENT, np.int32)
    for index, (prompt, given) in enumerate(zip(points, labels, strict=True)):
        count = len(prompt)
        try:
            if count == 0:
                if not has_boxes:
                    raise PromptError("expected points, or boxes for all prompts, got neither")
                if given is not None and np.size(given):
                    raise PromptError("expected points for the labels, got labels alone")
                continue
            checked = _points(prompt, given, size, None)
            if checked is None or not checked.single:
                raise PromptError("points: expected shape (N, 2), got three axes")
        except PromptError as error:
            raise PromptError(f"prompt {index}: {error}") from error
        coords[index, :count], point_labels[index, :count] = checked.coords[0], checked.labels[0]
    return Points(coords, point_labels, False)


def _boxes(box: ArrayLike | None, size: tuple[int, int]) -> Boxes | None:
    if box is None:
        return None
    given = as_numbers(box, "box")
    if given.shape == (0,):  # [] has this shape, and so has what detectors give for no boxes
        given = np.zeros((0, 4))
    if given.ndim not in (1, 2) or given.shape[-1] != 4:
        raise PromptError(f"box: expected shape (4,) or (P, 4), got {given.shape}")
    corners = _inside(given.reshape(*given.shape[:-1], 2, 2), size, "box").reshape(-1, 4)
    for numbers, advice in (
        (given.reshape(-1, 4), "is it x, y, width, height?"),
        (corners, "it is outside the image"),
    ):
        empty = np.flatnonzero((numbers[:, :2] >= numbers[:, 2:]).any(axis=1))
        if len(empty):
            index = empty[:1] if given.ndim == 2 else ()
            raise PromptError(
                f"{_name('box', tuple(index))}: expected x0 < x1 and y0 < y1, got x0, y0, x1, y1 = "
                f"{', '.join(map(_shown, given.reshape(-1, 4)[empty[0]]))}; {advice}"
            )
    return Boxes(corners, given.ndim == 1)


def _inside(coords: NDArray[np.float64], size: tuple[int, int], kind: str) -> NDArray[np.float64]:
    """Check (x, y) along the last axis, and clip what is less than a pixel outside."""
    end = np.array([size[1], size[0]], np.float64)
    wrong = np.argwhere(~((coords > -1) & (coords < end + 1)).all(axis=-1))
    if len(wrong):
        index = tuple(wrong[0])
        x, y = coords[index]
        # A box has two corners here, which have no number.
        name = _name(kind, index[:-1] if kind == "box" else index)
        if not np.isfinite([x, y]).all():
            raise PromptError(f"{name}: expected finite numbers, got ({_shown(x)}, {_shown(y)})")
        raise PromptError(
            f"{name}: expected (x, y) within 0..{size[1]} and 0..{size[0]} of the original image, "
            f"got ({_shown(x)}, {_shown(y)})"
        )
    return np.clip(coords, 0, end)


def _name(kind: str, index: tuple[int, ...]) -> str:
    """Name a point, label or box by its index; points and labels by their prompt's, if any."""
    if len(index) == 2:
        return f"prompt {index[0]}: {kind} {index[1]}"
    return f"{kind} {index[0]}" if index else kind


def _shown(number: np.float64) -> str:
    """Give a number in as many digits as tell it from its neighbors."""
    return repr(float(number)).removesuffix(".0")
