"""Malformed tensors, sent with plain tritonclient, and batches, on a real tritonserver."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from inference_counts import settled_counts
from raw_requests import (
    IMPOSSIBLE_SIZES,
    MALFORMED,
    assert_forbidden_are_nan,
    decoder_inputs,
    encoder_inputs,
    ensemble_inputs,
    infer,
    nan_prompts,
)
from skimage import data
from tritonclient.utils import InferenceServerException

from benchmarks.resident_memory import resident_mib
from slimsam_client import Embedding, SlimSam
from slimsam_client.contract import BULK_DECODER, DECODER, ENCODER, ENSEMBLE
from slimsam_server import EmbeddedServer
from slimsam_server.probe import probe

TRIES = 10


@pytest.fixture
def server(demo_server: EmbeddedServer) -> EmbeddedServer:
    """The one that many other tests use, too: what goes wrong here must not go on there."""
    return demo_server


def test_malformed_requests_fail_alone(server: EmbeddedServer) -> None:
    good = decoder_inputs()
    expected = infer(server.grpc_url, DECODER.name, good).as_numpy("low_res_masks")
    before = resident_mib(server.processes())
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        good_ones = []
        bad_ones = {}
        for _ in range(2):
            for name, make in MALFORMED.items():
                bad_ones[name] = pool.submit(infer, server.grpc_url, DECODER.name, make())
                good_ones.append(pool.submit(infer, server.grpc_url, DECODER.name, good))
            for name, future in bad_ones.items():
                error = future.exception()
                assert isinstance(error, InferenceServerException), name
                assert error.status() == "StatusCode.INVALID_ARGUMENT", (name, error)
        for future in good_ones:
            assert np.array_equal(future.result().as_numpy("low_res_masks"), expected)
    assert probe(server.grpc_url, 30) is None
    assert resident_mib(server.processes()) - before < 1024


def test_forbidden_values_are_answered_with_nan(server: EmbeddedServer) -> None:
    assert_forbidden_are_nan(server.grpc_url)


@pytest.mark.parametrize("size", IMPOSSIBLE_SIZES)
def test_an_impossible_image_size_is_answered_with_nan(
    server: EmbeddedServer, size: tuple[int, int]
) -> None:
    input_size = np.array([size], np.int32)
    answer = infer(server.grpc_url, ENCODER.name, {**encoder_inputs(), "input_size": input_size})
    assert np.isnan(answer.as_numpy("image_embeddings")).all()
    through = infer(
        server.grpc_url, ENSEMBLE.name, {**ensemble_inputs(2), "input_size": input_size}
    )
    assert nan_prompts(through) == [True, True]


def test_prompts_of_many_points_take_several_requests(server: EmbeddedServer) -> None:
    points = np.random.default_rng(0).uniform(0, 400, (20, 60, 2))
    with SlimSam(server.grpc_url, timeout=120) as sam:
        embedding = sam.embed(data.coffee())
        before = settled_counts(server.grpc_url, BULK_DECODER.name)[0]
        together = sam.predict(embedding, points=points)
        after = settled_counts(server.grpc_url, BULK_DECODER.name, before + 2)[0]
        assert after - before == 2  # 16 and 4 prompts
        for index in (0, 15, 16, 19):
            alone = sam.predict(embedding, points=points[index])
            assert np.abs(together.scores[index] - alone.scores).max() < 1e-3
            assert (together.masks[index] != alone.masks).mean() < 1e-3


@pytest.mark.parametrize("target", ["torchscript", "openvino"])
def test_concurrent_clients_get_their_own_masks(
    target: str, serve: Callable[[str], EmbeddedServer]
) -> None:
    url = serve(target).grpc_url
    image = data.coffee()
    clicks = [(30 * i + 20, 15 * i + 20) for i in range(16)]
    with SlimSam(url, timeout=120) as sam:
        plain = sam.embed(image)
        embeddings = [plain, sam.embed(image[:, ::-1])]
        alone = [sam.predict(embeddings[i % 2], points=[click]) for i, click in enumerate(clicks)]

        def click(index: int) -> Any:
            embedding: Embedding = embeddings[index % 2]
            return sam.predict(embedding, points=[clicks[index]])

        for _ in range(TRIES):  # no batch forms where requests come one by one, on a busy machine
            before = settled_counts(url, DECODER.name)
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                together = list(pool.map(click, range(16)))
            after = settled_counts(url, DECODER.name, before[0] + 16)
            for mine, expected in zip(together, alone, strict=True):
                assert np.abs(mine.scores - expected.scores).max() < 1e-3
                assert (mine.masks != expected.masks).mean() < 1e-3
            assert after[0] - before[0] == 16
            batched = after[1] - before[1] < 16
            if batched or target == "openvino":
                break
    assert batched == (target == "torchscript")
    differences = [
        np.abs(a.scores - b.scores).max() for a, b in zip(alone, alone[2:], strict=False)
    ]
    assert min(differences) > 1e-3, "answers must differ for this test to tell them apart"
