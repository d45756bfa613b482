"""A call of the user's has one timeout, whatever is asked again for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from slimsam_client.calls import AskDigest, Call, Done, Operation, advance
from slimsam_client.clicks.upload import upload
from slimsam_client.contract import DECODER, ENCODER, TOO_LARGE, Arrays, ModelSpec
from slimsam_client.errors import InvalidRequestError, StaleEmbeddingError
from slimsam_client.operations import embed, segment

IMAGE = np.zeros((60, 90, 3), np.uint8)
DIGEST = "5" * 64


def zeros(spec: ModelSpec) -> Arrays:
    return {tensor.name: np.zeros([abs(dim) for dim in tensor.dims]) for tensor in spec.outputs}


ENCODED = zeros(ENCODER)
DECODED = zeros(DECODER)
KEPT = {
    "image_id": np.array([b"0" * 64], np.object_),
    "original_size": np.array(IMAGE.shape[:2], np.int32),
}
STALE = StaleEmbeddingError("of another checkpoint")

CALLS: dict[str, tuple[Callable[[], Operation[Any]], list[object]]] = {
    "embed, by a server that has gone": (
        lambda: embed(IMAGE),
        [DIGEST, ENCODED, STALE, DIGEST, ENCODED, DIGEST],
    ),
    "segment, whose server has gone": (
        lambda: segment(IMAGE, [(45, 30)], None, None, None, True),
        [DIGEST, ENCODED, DIGEST, STALE, DIGEST, ENCODED, DIGEST, DECODED],
    ),
    "upload, above the server's limits": (
        lambda: upload(IMAGE),
        [InvalidRequestError(f"larger than it may be; {TOO_LARGE}"), KEPT],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_all_that_follows_shares_the_timeout(name: str) -> None:
    begin, outcomes = CALLS[name]
    operation = begin()
    steps: list[Call | AskDigest] = []
    step = advance(operation, None)
    for outcome in outcomes:
        assert not isinstance(step, Done)
        steps.append(step)
        step = advance(operation, outcome)
    assert isinstance(step, Done)
    assert [one.continues for one in steps] == [False] + [True] * (len(outcomes) - 1)
