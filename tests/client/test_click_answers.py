"""Answers of slimsam_click: the SDK's masks to the bit, in every form, in the memory of one."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slimsam_client import Prediction, PromptError
from slimsam_client.answers import Choice, choose_masks, to_prediction
from slimsam_client.clicks.answer import ClickAnswer, answer_click
from slimsam_client.clicks.request import SCHEMA, MaskFormat
from slimsam_client.encodings import from_packed_bits, from_png, from_polygons, from_rle, to_box
from slimsam_client.image.load import resized_size
from slimsam_client.prompts.encode import encode_prompts

FORMATS: list[MaskFormat] = SCHEMA["properties"]["format"]["enum"]
SIZES = [(40, 60), (1, 1), (3, 700), (900, 2), (1024, 1024), (1201, 1603), (333, 256)]
Decoded = dict[str, NDArray[Any]]


def decoded(count: int, seed: int = 0) -> Decoded:
    """What the decoder might answer for so many objects: blobs, an empty mask and a full one."""
    random = np.random.default_rng(seed)
    coarse = random.normal(-0.5, 1, (count, 4, 16, 16))
    logits = np.kron(coarse, np.ones((16, 16))) + random.normal(0, 0.2, (count, 4, 256, 256))
    if count > 1:
        logits[0], logits[1] = -3, 3
    scores = random.uniform(0, 1, (count, 4)).astype(np.float32)
    return {"iou_predictions": scores, "low_res_masks": logits.astype(np.float16)}


def both(
    answer: Decoded, size: tuple[int, int], choice: Choice, form: MaskFormat
) -> tuple[Prediction, ClickAnswer]:
    """The SDK's prediction, and the server's answer."""
    valid = resized_size(*size)
    prompts = encode_prompts(
        size, valid, box=[[0, 0, *size[::-1]]] * len(answer["iou_predictions"])
    )
    chosen = choose_masks(answer, choice)
    return to_prediction([chosen], choice, prompts, valid, size), answer_click(
        chosen, form, valid, size
    )


def from_geojson(data: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    geometry = json.loads(data)
    assert geometry["type"] == "MultiPolygon"
    return from_polygons(geometry["coordinates"], size)


DECODERS: dict[str, Callable[[bytes, tuple[int, int]], NDArray[np.bool_]]] = {
    "rle": lambda data, size: from_rle({"size": list(size), "counts": data}),
    "png": lambda data, size: from_png(data),
    "polygons": from_geojson,
    "bits": from_packed_bits,
}


@pytest.mark.parametrize("size", SIZES)
def test_masks_equal_the_sdks(size: tuple[int, int]) -> None:
    answer = decoded(3)
    for form in FORMATS:
        for choice in (Choice(True, "all"), Choice(True, "best"), Choice(False, "best")):
            expected, click = both(answer, size, choice, form)
            assert click.masks.shape == expected.scores.shape == (3, choice.count)
            assert np.array_equal(click.scores, expected.scores)
            assert np.array_equal(click.low_res_logits, expected.low_res_logits)
            assert np.array_equal(click.areas, expected.masks.sum(axis=(2, 3)))
            for place in np.ndindex(click.masks.shape):
                data, mask = click.masks[place], expected.masks[place]
                box = to_box(mask) or (0, 0, 0, 0)
                assert click.boxes[place].tolist() == list(box)
                if form == "logits":
                    sent = np.frombuffer(data, "<f2").reshape(256, 256)
                    assert np.array_equal(sent, expected.low_res_logits[place])
                else:
                    assert np.array_equal(DECODERS[form](data, size), mask), (form, place)


def test_rles_equal_the_sdks() -> None:
    answer = decoded(4, seed=3)
    expected, click = both(answer, (700, 501), Choice(True, "rle"), "rle")
    assert [rle["counts"] for rle in expected.rles] == click.masks[:, 0].tolist()


@pytest.mark.parametrize("form", FORMATS)
def test_an_answer_for_no_objects(form: MaskFormat) -> None:
    chosen = choose_masks(decoded(0), Choice(True, "all"))
    click = answer_click(chosen, form, (1024, 683), (300, 200))
    assert click.masks.shape == click.scores.shape == click.areas.shape == (0, 3)
    assert click.boxes.shape == (0, 3, 4)


def test_dtypes() -> None:
    _, click = both(decoded(2), (30, 40), Choice(True, "all"), "png")
    kinds = {name: value.dtype for name, value in vars(click).items()}
    assert kinds == {
        "masks": np.object_,
        "scores": np.float32,
        "boxes": np.int32,
        "areas": np.int64,
        "low_res_logits": np.float16,
    }
    assert all(type(mask) is bytes for mask in click.masks.ravel())


@pytest.mark.parametrize("form", FORMATS)
def test_answers_above_the_limit_are_refused(form: MaskFormat) -> None:
    chosen = choose_masks(decoded(3), Choice(True, "all"))
    valid = resized_size(301, 200)
    most = sum(map(len, answer_click(chosen, form, valid, (301, 200)).masks.ravel()))
    answer_click(chosen, form, valid, (301, 200), max_bytes=most)
    with pytest.raises(
        PromptError, match=r"^format: expected masks of at most .* max_answer_bytes"
    ):
        answer_click(chosen, form, valid, (301, 200), max_bytes=most - 1)


def test_polygons_of_too_large_a_mask_are_refused() -> None:
    chosen = choose_masks(decoded(3), Choice(True, "all"))
    with pytest.raises(PromptError, match=r"max_polygon_pixels.*, got polygons of one of 60,000$"):
        answer_click(chosen, "polygons", (1024, 768), (300, 200), max_polygon_pixels=59_999)


def test_work_ends_between_two_masks() -> None:
    chosen = choose_masks(decoded(3), Choice(True, "all"))
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        answer_click(chosen, "rle", (1024, 683), (300, 200), check)
    assert calls == 4


@pytest.mark.parametrize("form", ["rle", "png", "bits"])
def test_one_mask_at_a_time_is_in_memory(form: MaskFormat) -> None:
    size = (2500, 2000)
    valid = resized_size(*size)
    chosen = choose_masks(decoded(3), Choice(True, "all"))  # 9 masks of 5 MB
    answer_click(chosen, form, valid, size)  # the axes' matrices are kept
    tracemalloc.start()
    click = answer_click(chosen, form, valid, size)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    kept = sum(map(len, click.masks.ravel()))
    assert most - kept < 5 * size[0] * size[1], (most, kept)
