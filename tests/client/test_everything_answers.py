"""What a server's model of everything mode answers is believed only where it can be true."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from slimsam_client import ContractError, GenerateSettings
from slimsam_client.calls import Done, advance
from slimsam_client.contract import AUTOMATIC
from slimsam_client.encodings import to_box, to_rle
from slimsam_client.everything import MaskRecord
from slimsam_client.everything.answer import from_tensors
from slimsam_client.everything.remote import request_records
from slimsam_client.serving.automatic import to_tensors

SIZE = (30, 40)
HALF = np.zeros(SIZE, np.bool_)
HALF[:, 20:] = True
SPOT = np.zeros(SIZE, np.bool_)
SPOT[3:9, 5:7] = True


def record(mask: Any, stability_score: float = 0.75) -> MaskRecord:
    x0, y0, x1, y1 = to_box(mask) or (0, 0, 1, 1)
    box = (float(x0), float(y0), float(x1 - 1 - x0), float(y1 - 1 - y0))
    return MaskRecord(
        to_rle(mask),
        int(mask.sum()),
        box,
        0.5,
        stability_score,
        (40.0, 30.0),
        (0.0, 0.0, 40.0, 30.0),
    )


RECORDS = [record(HALF), record(SPOT), record(np.zeros(SIZE, np.bool_), math.nan)]


def right() -> dict[str, Any]:
    return to_tensors(RECORDS, SIZE)


def test_a_right_answer_is_taken() -> None:
    taken = from_tensors(right(), SIZE)
    assert [vars(found) for found in taken[:2]] == [vars(given) for given in RECORDS[:2]]
    assert math.isnan(taken[2].stability_score) and taken[2].rle == RECORDS[2].rle
    assert np.array_equal(taken[0].segmentation, HALF)
    assert from_tensors(to_tensors([], SIZE), SIZE) == []


def changed(name: str, index: Any, value: Any) -> dict[str, Any]:
    arrays = right()
    array = arrays[name].copy()
    array[index] = value
    return {**arrays, name: array}


LARGE = to_rle(np.zeros((300, 400), np.bool_))["counts"]
HOSTILE: dict[str, tuple[str, Any]] = {
    "another size": ("original_size", lambda: changed("original_size", 0, 31)),
    "sides in turn": ("original_size", lambda: {**right(), "original_size": np.int32([40, 30])}),
    "a huge size": ("original_size", lambda: changed("original_size", (), 60_000)),
    "a negative size": ("original_size", lambda: changed("original_size", 0, -30)),
    "three sides": ("original_size", lambda: {**right(), "original_size": np.zeros(3, np.int32)}),
    "a scalar size": ("original_size", lambda: {**right(), "original_size": np.int32(30)[()]}),
    "RLE of another size": ("rles", lambda: changed("rles", 1, LARGE)),
    "damaged RLE": ("rles", lambda: changed("rles", 0, b"\xff\xfe")),
    "no RLE": ("rles", lambda: changed("rles", 0, b"")),
    "long RLE": ("rles", lambda: changed("rles", 0, b"\x1b[2J" * 100_000)),
    "text for RLE": ("rles", lambda: changed("rles", 0, "x" * 100_000)),
    "fewer RLEs": ("boxes", lambda: {**right(), "rles": right()["rles"][:2]}),
    "a table of RLEs": ("rles", lambda: {**right(), "rles": right()["rles"][:, None]}),
    "a scalar RLE": ("boxes", lambda: {**right(), "rles": np.array(b"x", np.object_)}),
    "numbers for RLEs": ("rles", lambda: {**right(), "rles": np.zeros(3)}),
    "another area": ("areas", lambda: changed("areas", 1, 13)),
    "a negative area": ("areas", lambda: changed("areas", 1, -12)),
    "a huge area": ("areas", lambda: changed("areas", 1, 2**62)),
    "areas of 32 bits": ("areas", lambda: {**right(), "areas": right()["areas"].astype("i4")}),
    "a box beyond the right": ("boxes", lambda: changed("boxes", (0, 2), 20)),
    "a box beyond the bottom": ("boxes", lambda: changed("boxes", (0, 3), 30)),
    "a box left of it": ("boxes", lambda: changed("boxes", (1, 0), -1)),
    "a box of negative width": ("boxes", lambda: changed("boxes", (1, 2), -1)),
    "a box of NaN": ("boxes", lambda: changed("boxes", (1, 2), np.nan)),
    "an infinite box": ("boxes", lambda: changed("boxes", (1, 2), np.inf)),
    "an endless box": ("boxes", lambda: changed("boxes", 1, [-np.inf, 0, np.inf, 0])),
    "a box at infinity": ("boxes", lambda: changed("boxes", 1, [np.inf, 0, -np.inf, 0])),
    "boxes of halves": ("boxes", lambda: {**right(), "boxes": right()["boxes"].astype("f2")}),
    "boxes of 5": ("boxes", lambda: {**right(), "boxes": np.zeros((3, 5), np.float32)}),
    "a crop beyond the edge": ("crop_boxes", lambda: changed("crop_boxes", (2, 2), 41)),
    "a crop of NaN": ("crop_boxes", lambda: changed("crop_boxes", (2, 0), np.nan)),
    "a point outside": ("point_coords", lambda: changed("point_coords", (2, 0), 41)),
    "a point above": ("point_coords", lambda: changed("point_coords", (2, 1), -0.5)),
    "a point of NaN": ("point_coords", lambda: changed("point_coords", (2, 1), np.nan)),
    "an infinite point": ("point_coords", lambda: changed("point_coords", (2, 1), -np.inf)),
    "points of 3": ("point_coords", lambda: {**right(), "point_coords": np.zeros((3, 3), "f4")}),
    "a score of NaN": ("predicted_iou", lambda: changed("predicted_iou", 0, np.nan)),
    "an infinite score": ("predicted_iou", lambda: changed("predicted_iou", 0, np.inf)),
    "more scores": ("predicted_iou", lambda: {**right(), "predicted_iou": np.zeros(4, "f4")}),
    "infinite stability": ("stability_score", lambda: changed("stability_score", 0, np.inf)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_answer_that_cannot_be_true_is_refused(case: str) -> None:
    name, make = HOSTILE[case]
    with pytest.raises(ContractError, match=f"{AUTOMATIC.name}: expected the output {name} ") as at:
        from_tensors(make(), SIZE)
    assert len(str(at.value)) < 600 and str(at.value).isprintable()


def test_the_size_is_that_of_the_image_that_was_sent() -> None:
    for image in (np.zeros((*SIZE, 3), np.uint8), np.zeros((30, 41, 3), np.uint8)):
        steps = request_records(image, GenerateSettings())
        advance(steps, None)
        if image.shape[:2] == SIZE:
            step = advance(steps, right())
            assert isinstance(step, Done) and len(step.result) == 3
        else:
            with pytest.raises(ContractError, match="original_size"):
                advance(steps, right())
