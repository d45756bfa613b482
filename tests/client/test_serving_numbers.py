"""A model whose precision overflows inside the server: an error, and neither masks nor none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from slimsam_client import GenerateSettings, ServerError
from slimsam_client.calls import Call, Done, Steps, advance
from slimsam_client.contract import DECODED_MASKS, Arrays
from slimsam_client.everything.remote import bytes_tensor, everything_arrays, to_png
from slimsam_client.serving.automatic import answer_request
from slimsam_client.serving.cache.identity import PictureKeys
from slimsam_client.serving.clicks import ClickLimits, answer_prompt
from slimsam_client.serving.limits import Limits, Watch
from slimsam_client.serving.uploads import UploadLimits, answer_upload
from slimsam_client.testing.memory_store import MemoryStore
from slimsam_client.testing.models import infer

PIXELS = np.zeros((40, 60, 3), np.uint8)
PIXELS[10:30, 20:45] = 255, 0, 0
PNG = to_png(PIXELS)
KEYS = PictureKeys("a checkpoint")
VALUES = [np.nan, np.inf, -np.inf]


def watch() -> Watch:
    return Watch(lambda: False, 60)


def run(steps: Steps[Arrays], output: str = "", value: float = 0) -> Arrays:
    """Drive a model, and change the last number of an output of those that it asks."""
    step = advance(steps, None)
    while not isinstance(step, Done):
        rows = {name: array[None] for name, array in step.arrays.items()}
        answer = infer(step.spec, rows, lambda: True, MemoryStore(), "")
        if output in answer:
            answer[output].flat[-1] = value
        step = advance(steps, {name: array[0] for name, array in answer.items()})
    return step.result


@pytest.mark.parametrize("value", VALUES)
def test_a_picture_is_not_kept(value: float) -> None:
    store = MemoryStore()
    inputs: Arrays = {"image_bytes": bytes_tensor([PNG])}
    arguments: Any = (inputs, store, KEYS, UploadLimits(), watch())
    with pytest.raises(ServerError, match="slimsam_encoder: expected numbers in .*embeddings, got"):
        run(answer_upload(*arguments), "image_embeddings", value)
    assert store.picture_size(KEYS.key_of(PNG)) is None
    run(answer_upload(*arguments))
    assert store.picture_size(KEYS.key_of(PNG)) == (40, 60)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("output", ["low_res_masks", "iou_predictions"])
@pytest.mark.parametrize("points", ["[[30, 20]]", "[[[30, 20]], [[5, 5]]]"])
def test_a_click_has_no_masks(points: str, output: str, value: float) -> None:
    store = MemoryStore()
    image_id = run(
        answer_upload({"image_bytes": bytes_tensor([PNG])}, store, KEYS, UploadLimits(), watch())
    )["image_id"]
    inputs = {"image_id": image_id, "prompt": bytes_tensor([f'{{"points": {points}}}'])}
    with pytest.raises(ServerError, match=f"expected numbers in the output {output}, got NaN or"):
        run(answer_prompt(inputs, store, KEYS, ClickLimits(), watch()), output, value)


@pytest.mark.parametrize("output", ["image_embeddings", "low_res_masks", "iou_predictions"])
def test_everything_mode_does_not_say_that_there_is_nothing(output: str) -> None:
    inputs = everything_arrays(PNG, GenerateSettings(points_per_side=2), None)
    assert len(run(answer_request(inputs, Limits(), watch()))["areas"])
    with pytest.raises(ServerError, match=f"expected numbers in the output {output}, got NaN or"):
        run(answer_request(inputs, Limits(), watch()), output, np.nan)


def test_everything_mode_in_the_graph_does_not_either() -> None:
    def ask(calls: Iterable[Call]) -> Iterator[Arrays]:
        for call in calls:
            assert call.spec is DECODED_MASKS
            prompts = len(call.arrays["point_labels"])
            yield {"iou_predictions": np.full((prompts, 4), np.nan, np.float32)}

    inputs = everything_arrays(PNG, GenerateSettings(points_per_side=2), None)
    steps = answer_request(inputs, Limits(), watch(), ask=ask)
    with pytest.raises(ServerError, match="slimsam_decoder_masks: expected numbers in the output"):
        run(steps)
