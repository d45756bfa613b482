"""What is kept of a decoder's answer: all masks, the best, their RLE, or logits alone."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slimsam_client import Embedding, MaskError, Prediction, PromptError, SettingsError, operations
from slimsam_client.calls import Done, advance
from slimsam_client.contract import MAX_PROMPTS
from slimsam_client.encodings import from_rle, to_rle
from slimsam_client.image.load import resized_size
from slimsam_client.testing import FakeServer

PIXELS = np.zeros((40, 60, 3), np.uint8)
PIXELS[10:30, 20:45] = 255, 0, 0
SMALL, LARGE = (5, 5), (30, 20)  # a click outside, and one in the rectangle
PROMPTS: dict[str, dict[str, Any]] = {
    "one": {"points": [LARGE]},
    "many": {"points": [[SMALL], [LARGE], [(59, 39)]]},
    "none": {"points": []},
    "one mask each": {"box": [(18, 8, 47, 32), (0, 0, 9, 9)], "multimask_output": False},
    "no boxes": {"box": np.zeros((0, 4)), "multimask_output": False},
}


@pytest.mark.parametrize("name", list(PROMPTS))
def test_kinds_of_masks(name: str, connect: Callable[..., Any]) -> None:
    prompts = PROMPTS[name]
    with FakeServer() as server:
        sam = connect(server.url)
        embedding = sam.embed(PIXELS)
        for call, image in ((sam.predict, embedding), (sam.segment, PIXELS)):
            every = call(image, **prompts)
            best = call(image, **prompts, masks="best")
            runs = call(image, **prompts, masks="rle")
            logits = call(image, **prompts, masks=None)
            assert_kinds(every, best, runs, logits)


def assert_kinds(every: Prediction, best: Prediction, runs: Prediction, logits: Prediction) -> None:
    for few in (best, runs):  # the axis M stays, with the best alone
        np.testing.assert_array_equal(few.scores[..., 0], every.best_scores)
        np.testing.assert_array_equal(few.best_scores, every.best_scores)
        np.testing.assert_array_equal(few.low_res_logits[..., 0, :, :], every.best_logits)
        np.testing.assert_array_equal(few.best_logits, every.best_logits)
    np.testing.assert_array_equal(best.masks[..., 0, :, :], every.best_masks)
    np.testing.assert_array_equal(best.best_masks, every.best_masks)
    np.testing.assert_array_equal(logits.scores, every.scores)
    np.testing.assert_array_equal(logits.low_res_logits, every.low_res_logits)
    assert every.rles == best.rles == runs.rles
    masks = every.best_masks.reshape(-1, 40, 60)  # also of no prompt
    assert len(runs.rles) == len(masks)
    for rle, mask in zip(runs.rles, masks, strict=True):
        assert rle == to_rle(mask) and np.array_equal(from_rle(rle), mask)
    for given in (every, best, runs, logits):
        assert given.scores.dtype == given.low_res_logits.dtype == np.float32
        assert given.has_masks == (given in (every, best))
    with pytest.raises(MaskError, match="masks: expected .* made with masks='rle'; ask for them"):
        _ = runs.best_masks
    for attribute in ("masks", "best_masks", "rles"):
        with pytest.raises(MaskError, match="made with masks=None"):
            getattr(logits, attribute)


def test_lists_keep_what_is_asked_for(connect: Callable[..., Any]) -> None:
    with FakeServer() as server:
        sam = connect(server.url)
        prompts = {"points": [[LARGE], [], [[SMALL], [LARGE]]]}
        every = sam.segment([PIXELS] * 3, **prompts)
        kinds = [sam.segment([PIXELS] * 3, **prompts, masks=kind) for kind in ("best", "rle", None)]
        for results in zip(every, *kinds, strict=True):
            assert_kinds(*results)


def test_no_prompts_send_nothing_but_are_checked(connect: Callable[..., Any]) -> None:
    with FakeServer() as server:
        sam = connect(server.url)
        embedding = sam.embed(PIXELS)
        del server.requests[:]
        for box in ([], np.array([]), np.zeros((0, 4), np.float32)):
            for found in (sam.predict(embedding, box=box), sam.segment(PIXELS, box=box)):
                assert found.masks.shape == (0, 3, 40, 60) and found.masks.dtype == np.bool_
                assert found.scores.shape == (0, 3)
                assert found.low_res_logits.shape == (0, 3, 256, 256)
                assert found.best.shape == found.best_scores.shape == (0,)
                assert found.best_masks.shape == (0, 40, 60)
                assert found.best_logits.shape == (0, 256, 256)
                assert found.rles == []
            one = sam.predict(embedding, box=box, multimask_output=False)
            assert one.masks.shape == (0, 1, 40, 60)
        with pytest.raises(ValueError, match="expected an image"):
            sam.segment(PIXELS[:0], box=[])
        assert server.requests == []


@pytest.mark.parametrize("flag", [np.True_, 1, np.int64(1), np.array(True)])
def test_flags_may_be_of_any_type(flag: Any, connect: Callable[..., Any]) -> None:
    with FakeServer() as server:
        sam = connect(server.url)
        assert sam.segment(PIXELS, points=[LARGE], multimask_output=flag).scores.shape == (3,)
        off = sam.segment(PIXELS, points=[LARGE], multimask_output=flag != 1)
        assert off.scores.shape == (1,)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a text for a flag": ({"multimask_output": "false"}, "True or False, got 'false'"),
    "nothing for a flag": ({"multimask_output": None}, "got None"),
    "a number for a flag": ({"multimask_output": 3}, "got 3"),
    "flags": ({"multimask_output": np.array([True, False])}, "got array"),
    "an object for a flag": ({"multimask_output": object()}, "got <object"),
    "another kind of masks": ({"masks": "png"}, "masks: expected 'all', 'best', 'rle' or None, g"),
    "a flag for masks": ({"masks": True}, "masks: expected .* got True"),
    "a list for masks": ({"masks": ["best"]}, r"masks: expected .* got \['best'\]"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_mistakes_are_typed_and_not_sent(name: str, connect: Callable[..., Any]) -> None:
    options, message = WRONG[name]
    embedding = Embedding(np.zeros((256, 64, 64), np.float16), (40, 60), (683, 1024))
    with FakeServer() as server:
        sam = connect(server.url)
        for call in (
            lambda: sam.predict(embedding, points=[LARGE], **options),
            lambda: sam.segment(PIXELS, points=[LARGE], **options),
            lambda: sam.segment([PIXELS, PIXELS], points=[[LARGE], [LARGE]], **options),
        ):
            with pytest.raises(SettingsError, match=message):
                call()
        assert server.requests == []


def test_the_best_logits_of_one_prompt_refine_it(connect: Callable[..., Any]) -> None:
    with FakeServer() as server:
        sam = connect(server.url)
        embedding = sam.embed(PIXELS)
        click = sam.predict(embedding, points=[LARGE])
        sam.predict(embedding, points=[LARGE], mask_input=click.best_logits)
        many = sam.predict(embedding, points=[[LARGE], [SMALL], [(1, 1)]])
        with pytest.raises(PromptError, match="call once for each prompt"):
            sam.predict(embedding, points=[[LARGE]], mask_input=many.best_logits)
        for point, logits in zip((LARGE, SMALL, (1, 1)), many.best_logits, strict=True):
            sam.predict(embedding, points=[point], mask_input=logits)


def test_a_prediction_can_be_pickled_and_not_changed() -> None:
    scores, logits = np.ones(3, np.float32), np.ones((3, 256, 256), np.float32)
    prediction = Prediction(np.ones((3, 4, 5), np.bool_), scores, logits)
    again = pickle.loads(pickle.dumps(prediction))
    assert np.array_equal(again.masks, prediction.masks)
    assert np.array_equal(again.scores, scores) and again.rles == prediction.rles
    for name in ("masks", "scores", "low_res_logits", "best"):
        with pytest.raises(AttributeError):
            setattr(prediction, name, scores)


def test_the_best_is_an_index() -> None:
    scores, logits = np.array([0.1, 0.9, 0.5], np.float32), np.zeros((3, 256, 256), np.float32)
    prediction = Prediction(np.zeros((3, 4, 5), np.bool_), scores, logits)
    assert prediction.best == 1 and {1: "b"}[prediction.best] == ["a", "b", "c"][prediction.best]
    assert f"{prediction.best:d}" == "1" and range(3)[prediction.best] == 1
    assert f"{prediction.best_scores:.1f}" == "0.9"


def answered(
    size: tuple[int, int], count: int, masks: Any, logits: NDArray[np.float16]
) -> Prediction:
    """Clicks on an image whose decoder answers all the same; the third of four masks is best."""
    embedding = Embedding(np.zeros((256, 64, 64), np.float16), size, resized_size(*size))
    scores = np.tile(np.array([0.1, 0.2, 0.9, 0.3], np.float32), (MAX_PROMPTS, 1))
    points = np.full((count, 1, 2), 5)
    steps = operations.predict(embedding, points, None, None, None, True, masks)
    step = advance(steps, None)
    while not isinstance(step, Done):
        rows = len(step.arrays["point_labels"])
        answer = {"low_res_masks": logits[:rows], "iou_predictions": scores[:rows]}
        step = advance(steps, answer)
    return step.result


def test_kinds_of_masks_of_several_requests() -> None:
    logits = np.random.default_rng(0).normal(size=(MAX_PROMPTS, 4, 256, 256)).astype(np.float16)
    kinds: list[Any] = ["all", "best", "rle", None]
    assert_kinds(*[answered((40, 60), MAX_PROMPTS + 2, kind, logits) for kind in kinds])


@pytest.mark.parametrize(
    ("masks", "most"),  # bytes beside the logits
    [("best", 70 * 1500 * 2000), ("rle", 0), (None, 0)],
)
def test_memory_is_that_of_what_is_kept(masks: Any, most: int) -> None:
    """70 clicks on 3 megapixels. All masks would take 600 MiB, and all logits 53."""
    logits = np.full((MAX_PROMPTS, 4, 256, 256), -5, np.float16)
    logits[:, :, 60:90, 50:120] = 5
    tracemalloc.start()
    found = answered((1500, 2000), 70, masks, logits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    kept = found.low_res_logits.nbytes
    assert kept == 70 * (3 if masks is None else 1) * 256 * 256 * 4
    # The logits once more in half precision, and a few masks at a time.
    assert peak < most + 1.5 * kept + 6 * 1500 * 2000
