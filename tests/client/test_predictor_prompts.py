"""`Predictor` takes prompts by the rules of `SlimSam`, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from slimsam_client import Predictor, PromptError, SettingsError, SlimSam, SlimSamError
from slimsam_client.testing import FakeServer

IMAGE = np.zeros((384, 512, 3), np.uint8)
IMAGE[50:100, 60:120] = 255
CLICK: dict[str, Any] = {"point_coords": [(90, 70)], "point_labels": [1]}


@pytest.fixture(scope="module")
def predictor() -> Iterator[Predictor]:
    with FakeServer() as server, SlimSam(server.url) as sam:
        predictor = Predictor(sam)
        predictor.set_image(IMAGE)
        yield predictor


def test_numbers_may_be_of_any_type_and_barely_outside(predictor: Predictor) -> None:
    expected = predictor.predict((90, 70) * np.ones((1, 2)), [1], [0, 0, 512, 384])
    beyond = np.nextafter(np.float32(512), np.float32(600))
    found = predictor.predict([[np.int16(90), np.float16(70)]], [np.True_], (-0.4, 0, beyond, 384))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_box_needs_no_points(predictor: Predictor) -> None:
    box = np.array([[50, 40, 130, 110]])
    alone = predictor.predict(box=box)
    for one, other in zip(
        predictor.predict(np.zeros((0, 2)), np.zeros(0), box), alone, strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_logits_need_no_masks(predictor: Predictor) -> None:
    masks, scores, low_res = predictor.predict(**CLICK)
    logits, *others = predictor.predict(**CLICK, return_logits=True)
    assert masks.dtype == np.bool_ and logits.dtype == np.float32
    np.testing.assert_array_equal(logits > 0, masks)
    np.testing.assert_array_equal(others[0], scores)
    np.testing.assert_array_equal(others[1], low_res)


WRONG: dict[str, tuple[dict[str, Any], type[SlimSamError], str]] = {
    "no points": ({"point_coords": [], "point_labels": []}, PromptError, "expected one prompt"),
    "no boxes": ({"box": np.zeros((0, 4))}, PromptError, r"expected one prompt, .* got \(0, 4\)"),
    "digits as text": (
        {"point_coords": [["1", "2"]], "point_labels": [1]},
        PromptError,
        "point_coords: expected an array of numbers",
    ),
    "a text for a flag": ({**CLICK, "multimask_output": "no"}, SettingsError, "got 'no'"),
    "all of an answer's logits": (
        {**CLICK, "mask_input": np.zeros((3, 256, 256))},
        PromptError,
        r"mask_input: .* got \(3, 256, 256\)",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_mistakes_are_typed(name: str, predictor: Predictor) -> None:
    prompts, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        predictor.predict(**prompts)
