"""Prompts: coordinates as SAM's processor has them, padding, and every mistake."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from installed import require

from slimsam_client import PromptError
from slimsam_client.contract import MAX_PROMPTS, POINT_BUCKETS
from slimsam_client.image.load import resized_size
from slimsam_client.prompts.encode import Prompts, encode_prompts, split_prompts

SIZE = (300, 451)  # height, width
MASK = np.zeros((256, 256), np.float32)


def encode(**prompts: Any) -> Prompts:
    return encode_prompts(SIZE, resized_size(*SIZE), **prompts)


@pytest.mark.parametrize("size", [(300, 451), (1024, 1024), (4000, 333), (17, 5000)])
def test_coordinates_equal_sams_processor(size: tuple[int, int]) -> None:
    require("torch", "transformers")
    from transformers import SamProcessor
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    height, width = size
    processor = SamProcessor(SamImageProcessorPil())
    points = [[0.0, 0.0], [width * 0.37, height * 0.91], [float(width), float(height)]]
    box = [width * 0.1, height * 0.2, width * 0.9, float(height)]
    theirs = processor(
        np.zeros((*size, 3), np.uint8),
        input_points=[[points]],
        input_boxes=[[box]],
        return_tensors="pt",
    )
    ours = encode_prompts(size, resized_size(*size), points=points, box=box)
    assert np.abs(ours.point_coords[0, :3] - theirs["input_points"].numpy()[0, 0]).max() < 1e-3
    corners = theirs["input_boxes"].numpy().reshape(2, 2)
    assert np.abs(ours.point_coords[0, 3:5] - corners).max() < 1e-3


def test_labels_and_order() -> None:
    def kinds(**prompts: Any) -> list[int]:
        labels: list[int] = encode(**prompts).point_labels[0].tolist()
        return labels

    assert kinds(points=[[1, 2]]) == [1, -1]
    assert kinds(points=[[1, 2], [3, 4]], labels=[0, 1]) == [0, 1, -1, -2]
    assert kinds(box=[1, 2, 3, 4]) == [2, 3]
    assert kinds(points=[[1, 2]], labels=[True], box=[1, 2, 3, 4]) == [1, 2, 3, -2]
    assert kinds(mask_input=MASK) == [-2, -2]


def test_shapes_and_dtypes() -> None:
    for count in range(1, 64):
        prompts = encode(points=np.full((3, count, 2), 5), mask_input=MASK)
        padded = next(bucket for bucket in POINT_BUCKETS if bucket >= count + 1)
        assert prompts.point_coords.shape == (3, padded, 2)
        assert prompts.point_labels.shape == (3, padded)
        assert (prompts.point_labels[:, count + 1 :] == -2).all()
    assert prompts.point_coords.dtype == prompts.mask_input.dtype == np.float32
    assert prompts.point_labels.dtype == np.int32
    assert prompts.mask_input.shape == (1, 256, 256)
    assert prompts.has_mask_input.tolist() == [1] and not prompts.single
    alone = encode(box=(0, 0, 5, 5))
    assert alone.has_mask_input.tolist() == [0] and alone.single


def test_edges_are_inside() -> None:
    height, width = SIZE
    coords = encode(points=[[0, 0], [width, height]]).point_coords[0]
    assert coords[0].tolist() == [0, 0]
    assert coords[1].tolist() == list(resized_size(height, width))[::-1]
    encode(box=[0, 0, width, height])


def test_less_than_a_pixel_outside_is_clipped() -> None:
    height, width = SIZE
    beyond = np.nextafter(np.float32(width), np.float32(1e9))
    for box in ([-0.9, -0.3, beyond, height + 0.9], np.array([-0.9, -0.3, beyond, height + 0.9])):
        clipped, exact = encode(box=box), encode(box=[0, 0, width, height])
        np.testing.assert_array_equal(clipped.point_coords, exact.point_coords)
    points = encode(points=[[-0.99, 3], [width + 0.5, height + 0.5]]).point_coords
    edges = encode(points=[[0, 3], [width, height]]).point_coords
    np.testing.assert_array_equal(points, edges)
    ragged = encode(points=[[[-0.5, 3]], [[1, 1], [2, height + 0.5]]]).point_coords
    np.testing.assert_array_equal(
        ragged, encode(points=[[[0, 3]], [[1, 1], [2, 300]]]).point_coords
    )


NOTHING: dict[str, dict[str, Any]] = {
    "boxes of a detector": {"box": np.zeros((0, 4), np.float32)},
    "an empty array": {"box": np.array([])},
    "an empty list": {"box": []},
    "points": {"points": np.zeros((0, 3, 2))},
    "a list of points": {"points": []},
    "points and labels": {"points": np.zeros((0, 1, 2)), "labels": np.zeros((0, 1))},
    "lists of points and labels": {"points": [], "labels": []},
    "points and boxes": {"points": [], "box": np.zeros((0, 4))},
    "a mask for none": {"box": [], "mask_input": MASK},
}


@pytest.mark.parametrize("name", list(NOTHING))
def test_no_prompts_are_none(name: str) -> None:
    prompts = encode(**NOTHING[name])
    assert len(prompts.point_coords) == len(prompts.point_labels) == 0 and not prompts.single


def test_boxes_need_no_points() -> None:
    box = [1, 2, 3, 4]
    for points in ([], (), np.zeros((0, 2)), np.array([])):
        prompts = encode(points=points, labels=[], box=box)
        assert prompts.point_labels.tolist() == [[2, 3]] and prompts.single
    for many in (np.zeros((2, 0, 2)), [np.zeros((0, 2)), []]):
        prompts = encode(points=many, box=[box, box])
        assert prompts.point_labels.tolist() == [[2, 3], [2, 3]] and not prompts.single


@pytest.mark.parametrize(
    "number",
    [int, np.uint8, np.float16, np.float32, np.int64, Decimal, Fraction, np.array],
)
def test_numbers_may_be_of_any_type(number: Any) -> None:
    expected = encode(points=[[1, 2], [3, 4]], labels=[1, 0], box=[5, 6, 7, 8])
    prompts = encode(
        points=[[number(1), number(2)], [number(3), number(4)]],
        labels=[number(1), number(0)],
        box=[number(side) for side in (5, 6, 7, 8)],
        mask_input=[[number(0)] * 256] * 256,
    )
    np.testing.assert_array_equal(prompts.point_coords, expected.point_coords)
    np.testing.assert_array_equal(prompts.point_labels, expected.point_labels)
    assert encode(points=[[1, 2]], labels=[np.bool_(False)]).point_labels.tolist() == [[0, -1]]


def test_one_mask_serves_all_prompts_in_any_shape() -> None:
    logits = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    for shape in ((256, 256), (1, 256, 256), (1, 1, 256, 256)):
        prompts = encode(points=np.ones((2, 1, 2)), mask_input=logits.reshape(shape))
        np.testing.assert_array_equal(prompts.mask_input, logits[None])


class WantsGradient:
    """As a torch tensor of a graph: it gives no array."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "expected points, a box or a mask_input, got none of them"),
    "labels alone": ({"labels": [1]}, "expected points for the labels"),
    "left of the image": (
        {"points": [[-1.5, 3]]},
        r"^point 0: expected \(x, y\) within 0\.\.451 and 0\.\.300.*\(-1.5, 3\)$",
    ),
    "below the image": ({"points": [[1, 1], [3, 301.25]]}, r"^point 1: .* got \(3, 301.25\)$"),
    "a whole pixel outside": ({"points": [[-1, 3]]}, r"got \(-1, 3\)$"),
    "barely a pixel outside": (
        {"points": np.array([[[1, 1]], [[np.nextafter(np.float32(452), np.float32(500)), 3]]])},
        r"^prompt 1: point 0: .* got \(452\.00003\d*, 3\)$",
    ),
    "box outside": ({"box": [0, 0, 452, 5]}, r"^box: expected .* got \(452, 5\)$"),
    "one box of many outside": (
        {"box": [[0, 0, 5, 5]] * 57 + [[-9, 0, 4, 4]] + [[0, 0, 5, 5]] * 9},
        r"^box 57: expected .* got \(-9, 0\)$",
    ),
    "one box of many upside down": (
        {"box": [[0, 0, 5, 5]] * 7 + [[5, 9, 8, 2.5]]},
        r"^box 7: expected x0 < x1 and y0 < y1, got .* 5, 9, 8, 2\.5; is it x, y, width",
    ),
    "box beside the image": (
        {"box": [[451.25, 0, 451.75, 9]]},
        r"^box 0: .* = 451\.25, 0, 451\.75, 9; it is outside the image$",
    ),
    "one NaN box": ({"box": [[0, 0, 5, 5], [0, 0, 5, np.nan]]}, r"^box 1: .* finite .*\(5, nan\)"),
    "one label of many": (
        {"points": np.ones((3, 2, 2)), "labels": [[1, 1], [1, 0], [1, 7]]},
        r"^prompt 2: label 1: expected 1 .* got 7$",
    ),
    "NaN": ({"points": [[np.nan, 3]]}, r"^point 0: expected finite numbers, got \(nan, 3\)"),
    "infinite box": ({"box": [0, 0, np.inf, 3]}, "box: expected finite numbers"),
    "NaN label": ({"points": [[1, 1]], "labels": [np.nan]}, "label 0: expected 1 .* got nan"),
    "flat points": ({"points": [1, 2]}, r"expected shape \(N, 2\).* got \(2,\)"),
    "three coordinates": ({"points": [[1, 2, 3]]}, r"got \(1, 3\)"),
    "no points": ({"points": np.zeros((0, 2))}, r"got \(0, 2\)"),
    "no points in prompts": ({"points": np.zeros((3, 0, 2))}, r"N at least 1, got \(3, 0, 2\)"),
    "labels for no points": ({"points": [], "labels": [1]}, r"got \(0,\)"),
    "labels beside a box and no points": (
        {"points": [], "labels": [1], "box": [0, 0, 5, 5]},
        r"got \(0,\)",
    ),
    "ragged": ({"points": [[1, 2], [3]]}, "points: expected an array of numbers"),
    "words": ({"points": [["a", "b"]]}, "points: expected an array of numbers"),
    "digits as text": ({"points": [["1", "2"]]}, "points: expected an array of numbers"),
    "complex numbers": ({"points": np.ones((1, 2), complex)}, "points: expected an array of numb"),
    "dates": ({"points": np.zeros((1, 2), "M8[s]")}, "points: expected an array of numbers"),
    "huge": ({"points": [[10**400, 1]]}, "points: expected an array of numbers"),
    "an object": ({"box": object()}, "box: expected an array of numbers"),
    "a tensor that wants a gradient": (
        {"box": WantsGradient()},
        "box: expected an array of numbers",
    ),
    "label 2": ({"points": [[1, 2]], "labels": [2]}, r"expected 1 .* or 0 .*, got 2"),
    "label -1": ({"points": [[1, 2]], "labels": [-1]}, "got -1"),
    "label 0.5": ({"points": [[1, 2]], "labels": [0.5]}, "got 0.5"),
    "too few labels": ({"points": [[1, 2], [3, 4]], "labels": [1]}, r"shape \(2,\), got \(1,\)"),
    "box width 0": ({"box": [5, 1, 5, 9]}, "expected x0 < x1 and y0 < y1, got .* 5, 1, 5, 9"),
    "box upside down": ({"box": [1, 9, 5, 2]}, "is it x, y, width, height"),
    "box of three": ({"box": [1, 2, 3]}, r"box: expected shape \(4,\) or \(P, 4\).* got \(3,\)"),
    "no boxes of six": ({"box": np.zeros((0, 6))}, r"got \(0, 6\)"),
    "no boxes for points": (
        {"points": np.ones((3, 1, 2)), "box": []},
        "got points for 3 prompts and 0 boxes",
    ),
    "no points for boxes": (
        {"points": [], "box": [[0, 0, 5, 5]]},
        "got points for 0 prompts and 1 boxes",
    ),
    "boxes for one prompt": (
        {"points": [[1, 2]], "box": [[0, 0, 5, 5], [0, 0, 6, 6]]},
        "expected as many boxes as points' first axis says",
    ),
    "boxes for other prompts": (
        {"points": np.ones((3, 1, 2)), "box": [[0, 0, 5, 5], [0, 0, 6, 6]]},
        "got points for 3 prompts and 2 boxes",
    ),
    "labels of another list": (
        {"points": [[[1, 2]], [[1, 2], [3, 4]]], "labels": [[1]]},
        "labels: expected a list of 2 arrays, one for each prompt's points",
    ),
    "labels as one array": (
        {"points": [[[1, 2]], [[1, 2], [3, 4]]], "labels": np.ones((2, 2))},
        "labels: expected a list of 2 arrays",
    ),
    "too few labels in a list": (
        {"points": [[[1, 2]], [[1, 2], [3, 4]]], "labels": [[1], [1]]},
        r"prompt 1: labels: expected one per point, shape \(2,\), got \(1,\)",
    ),
    "outside in a list": (
        {"points": [[[1, 2]], [[1, 2], [3, 301]]]},
        r"^prompt 1: point 1: expected \(x, y\) within .* got \(3, 301\)$",
    ),
    "prompts in a list's prompt": (
        {"points": [[[1, 2]], [[[1, 2]], [[3, 4]]]]},
        "prompt 1: points: expected shape .*, got three axes",
    ),
    "ragged in a list's prompt": (
        {"points": [[[1, 2]], [[1, 2], [3]]]},
        "prompt 1: points: expected an array of numbers",
    ),
    "nothing in a list": ({"points": [[[1, 2]], []]}, "prompt 1: expected points, or boxes for"),
    "only empty prompts": ({"points": [[], []]}, "prompt 0: expected points, or boxes for all"),
    "labels without points in a list": (
        {"points": [[], [[1, 2]]], "labels": [[1], [1]], "box": [[0, 0, 5, 5], [0, 0, 6, 6]]},
        "prompt 0: expected points for the labels, got labels alone",
    ),
    "a list for other boxes": (
        {"points": [[[1, 2]], [[1, 2], [3, 4]]], "box": [[0, 0, 5, 5]] * 3},
        "got points for 2 prompts and 3 boxes",
    ),
    "a list with one box": (
        {"points": [[[1, 2]], [[1, 2], [3, 4]]], "box": [0, 0, 5, 5]},
        "got points for 2 prompts and 1 boxes",
    ),
    "small mask": ({"mask_input": np.zeros((128, 128))}, r"got \(128, 128\)"),
    "one mask for each prompt": (
        {"points": np.ones((5, 1, 2)), "mask_input": np.zeros((5, 256, 256))},
        r"got \(5, 256, 256\); one mask serves all prompts.* call once for each prompt",
    ),
    "all candidates": (
        {"points": [[1, 2]], "mask_input": np.zeros((3, 256, 256))},
        r"got \(3, 256, 256\); one mask serves all .* give an answer's best_logits",
    ),
    "a mask beyond float32": ({"mask_input": np.full((256, 256), 1e300)}, "expected finite"),
    "NaN mask": ({"mask_input": np.full((256, 256), np.nan)}, "mask_input: expected finite"),
    "too many points": ({"points": np.ones((64, 2))}, "expected at most 64 points .* got 65"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_mistakes(name: str) -> None:
    prompts, message = WRONG[name]
    with pytest.raises(PromptError, match=message):
        encode(**prompts)


def test_lists_of_different_lengths() -> None:
    ragged = encode(points=[[[1, 2]], [[3, 4], [5, 6], [7, 8]]], labels=[[0], [1, 0, 1]])
    assert not ragged.single
    assert ragged.point_labels.tolist() == [[0, -2, -2, -1], [1, 0, 1, -1]]
    alone = encode(points=[[1, 2]], labels=[0])
    assert np.array_equal(ragged.point_coords[0, :1], alone.point_coords[0, :1])
    assert (ragged.point_coords[0, 1:] == 0).all()
    arrays = encode(points=[np.ones((1, 2)), np.ones((3, 2))])
    assert arrays.point_labels.tolist() == [[1, -2, -2, -1], [1, 1, 1, -1]]
    boxed = encode(points=[[], ((3, 4),)], labels=[[], [0]], box=[[1, 2, 3, 4], [5, 6, 7, 8]])
    assert boxed.point_labels.tolist() == [[-2, 2, 3, -2], [0, 2, 3, -2]]
    only_boxes = encode(points=[[], []], box=[[1, 2, 3, 4], [5, 6, 7, 8]])
    assert only_boxes.point_labels.tolist() == [[2, 3], [2, 3]]


def test_lists_of_equal_lengths_are_arrays() -> None:
    points = [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 9], [8, 8]]]
    listed, array = encode(points=points), encode(points=np.array(points))
    assert np.array_equal(listed.point_coords, array.point_coords)
    assert np.array_equal(listed.point_labels, array.point_labels)


@pytest.mark.parametrize("count", [1, 16, 17, 64, 150])
@pytest.mark.parametrize("points", [1, 63])
def test_requests_hold_no_more_prompts_than_the_limit(count: int, points: int) -> None:
    clicks = np.random.default_rng(0).uniform(0, 300, (count, points, 2))
    whole = encode(points=clicks)
    parts = list(split_prompts(whole))
    sizes = [len(part.point_labels) for part in parts]
    assert sizes[-1] <= MAX_PROMPTS and set(sizes[:-1]) <= {MAX_PROMPTS}
    for name in ("point_coords", "point_labels"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(whole, name))
