"""In which queue an operation's requests wait, and before which others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slimsam_client import Embedding
from slimsam_client.calls import AskDigest, Call, Done, Operation, advance
from slimsam_client.contract import (
    BULK_DECODER,
    CONTINUED_PRIORITY,
    DECODER,
    ENCODER,
    MAX_PROMPTS,
    ModelSpec,
)
from slimsam_client.operations import generate, predict, segment
from slimsam_client.transport.tensors import to_request

IMAGE = np.zeros((8, 8, 3), np.uint8)
EMBEDDING = Embedding(np.zeros((256, 64, 64), np.float16), (8, 8), (1024, 1024))
IMAGES = (ENCODER, None)
ONE = (DECODER, None)
NEW = (BULK_DECODER, None)
BEGUN = (BULK_DECODER, CONTINUED_PRIORITY)
MANY = 2 * MAX_PROMPTS + 1


def points(count: int) -> dict[str, Any]:
    prompts = {"points": np.ones((count, 1, 2)), "labels": None, "box": None, "mask_input": None}
    return {**prompts, "multimask_output": True}


def calls(operation: Operation[Any]) -> list[Call]:
    """Take an operation's calls, each answered with zeros."""
    found = []
    step = advance(operation, None)
    while not isinstance(step, Done):
        answer = None
        if isinstance(step, Call):
            found.append(step)
            prompts = len(step.arrays.get("point_labels", ()))
            answer = {
                tensor.name: np.zeros([prompts if dim < 0 else dim for dim in tensor.dims])
                for tensor in step.spec.outputs
            }
        else:
            assert isinstance(step, AskDigest)
        step = advance(operation, answer)
    return found


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda: predict(EMBEDDING, **points(1)), [ONE]),
        (lambda: predict(EMBEDDING, **points(2)), [NEW]),
        (lambda: predict(EMBEDDING, **points(MANY)), [NEW, BEGUN, ONE]),
        (lambda: segment(IMAGE, **points(1)), [IMAGES, ONE]),
        (lambda: segment(IMAGE, **points(2)), [IMAGES, BEGUN]),
        (lambda: generate(IMAGE, None, None, on_server=False), [IMAGES, *[NEW] * 64]),
    ],
    ids=["a click", "two", "many", "segment", "segment with two", "everything mode"],
)
def test_one_prompt_waits_apart_and_what_is_begun_goes_before_what_is_new(
    operation: Any, expected: list[tuple[ModelSpec, int | None]]
) -> None:
    made = calls(operation())
    assert [(call.spec, call.priority) for call in made] == expected
    for call in made:
        parameters = to_request(call).parameters
        assert ("priority" in parameters) == (call.priority is not None)
        assert parameters["priority"].uint64_param == (call.priority or 0)
