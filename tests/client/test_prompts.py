"""Prompts: coordinates as SAM's processor has them, padding, and every mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from slimsam_client import PromptError
from slimsam_client.contract import POINT_BUCKETS
from slimsam_client.image import resized_size
from slimsam_client.prompts import Prompts, encode_prompts

SIZE = (300, 451)  # height, width
MASK = np.zeros((256, 256), np.float32)


def encode(**prompts: Any) -> Prompts:
    return encode_prompts(SIZE, resized_size(*SIZE), **prompts)


@pytest.mark.parametrize("size", [(300, 451), (1024, 1024), (4000, 333), (17, 5000)])
def test_coordinates_equal_sams_processor(size: tuple[int, int]) -> None:
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


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "expected points, a box or a mask_input, got none of them"),
    "labels alone": ({"labels": [1]}, "expected points for the labels"),
    "left of the image": ({"points": [[-0.5, 3]]}, r"within 0\.\.451 and 0\.\.300.*\(-0.5, 3\)"),
    "below the image": ({"points": [[3, 300.5]]}, r"got \(3, 300.5\)"),
    "box outside": ({"box": [0, 0, 452, 5]}, r"box: expected .* got \(452, 5\)"),
    "NaN": ({"points": [[np.nan, 3]]}, "points: expected finite numbers"),
    "infinite box": ({"box": [0, 0, np.inf, 3]}, "box: expected finite numbers"),
    "NaN label": ({"points": [[1, 1]], "labels": [np.nan]}, "labels: expected finite"),
    "flat points": ({"points": [1, 2]}, r"expected shape \(N, 2\).* got \(2,\)"),
    "three coordinates": ({"points": [[1, 2, 3]]}, r"got \(1, 3\)"),
    "no points": ({"points": np.zeros((0, 2))}, r"got \(0, 2\)"),
    "no prompts": ({"points": np.zeros((0, 1, 2))}, r"got \(0, 1, 2\)"),
    "ragged": ({"points": [[1, 2], [3]]}, "points: expected an array of numbers"),
    "words": ({"points": [["a", "b"]]}, "points: expected an array of numbers"),
    "label 2": ({"points": [[1, 2]], "labels": [2]}, r"expected 1 .* or 0 .*, got 2"),
    "label -1": ({"points": [[1, 2]], "labels": [-1]}, "got -1"),
    "label 0.5": ({"points": [[1, 2]], "labels": [0.5]}, "got 0.5"),
    "too few labels": ({"points": [[1, 2], [3, 4]], "labels": [1]}, r"shape \(2,\), got \(1,\)"),
    "box width 0": ({"box": [5, 1, 5, 9]}, "expected x0 < x1 and y0 < y1, got .* 5, 1, 5, 9"),
    "box upside down": ({"box": [1, 9, 5, 2]}, "is it x, y, width, height"),
    "box of three": ({"box": [1, 2, 3]}, r"box: expected shape \(4,\) or \(P, 4\).* got \(3,\)"),
    "no boxes": ({"box": np.zeros((0, 4))}, r"got \(0, 4\)"),
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
        r"prompt 1: points: expected \(x, y\) within .* got \(3, 301\)",
    ),
    "prompts in a list's prompt": (
        {"points": [[[1, 2]], [[[1, 2]], [[3, 4]]]]},
        "prompt 1: points: expected shape .*, got three axes",
    ),
    "ragged in a list's prompt": (
        {"points": [[[1, 2]], [[1, 2], [3]]]},
        "prompt 1: points: expected an array of numbers",
    ),
    "nothing in a list": ({"points": [[], [[1, 2]]]}, r"prompt 0: points: .* got \(0,\)"),
    "only empty prompts": ({"points": [[], []]}, r"prompt 0: points: .* got \(0,\)"),
    "an empty list": ({"points": []}, r"points: expected shape .* got \(0,\)"),
    "labels without points in a list": (
        {"points": [[], [[1, 2]]], "labels": [[1], [1]], "box": [[0, 0, 5, 5], [0, 0, 6, 6]]},
        r"prompt 0: points: .* got \(0,\)",
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
