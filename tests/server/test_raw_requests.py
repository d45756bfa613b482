"""Malformed tensors, sent with plain tritonclient, and batches, on a real tritonserver."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from raw_requests import MALFORMED, decoder_inputs, infer
from skimage import data
from tritonclient.utils import InferenceServerException

from slimsam_client import Embedding, SlimSam
from slimsam_client.contract import DECODER, ENCODER
from slimsam_server import EmbeddedServer
from slimsam_server.launch import _children
from slimsam_server.probe import probe


@pytest.fixture(scope="module")
def server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(demo_repository) as running:
        yield running


def resident_mib(pid: int) -> float:
    total = 0
    for process in [pid, *_children(pid)]:
        status = Path(f"/proc/{process}/status").read_text()
        total += int(status.split("VmRSS:")[1].split()[0])
    return total / 1024


def test_malformed_requests_fail_alone(server: EmbeddedServer) -> None:
    good = decoder_inputs()
    expected = infer(server.grpc_url, DECODER.name, good).as_numpy("low_res_masks")
    assert server._process is not None
    before = resident_mib(server._process.pid)
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
    assert resident_mib(server._process.pid) - before < 1024


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 5), (1025, 10), (10, 100_000)])
def test_an_impossible_image_size(server: EmbeddedServer, size: tuple[int, int]) -> None:
    arrays = {
        "image": np.zeros((1, 1024, 1024, 3), np.uint8),
        "input_size": np.array([size], np.int32),
    }
    with pytest.raises(InferenceServerException, match="input_size: expected") as caught:
        infer(server.grpc_url, ENCODER.name, arrays)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_no_prompts_give_an_empty_answer(server: EmbeddedServer) -> None:
    answer = infer(server.grpc_url, DECODER.name, decoder_inputs(prompts=0))
    assert answer.as_numpy("low_res_masks").shape == (1, 0, 4, 256, 256)
    assert answer.as_numpy("iou_predictions").shape == (1, 0, 4)


def statistics(url: str, model: str) -> tuple[int, int]:
    """Inferences and executions, once they stand still: Triton counts after it has answered."""
    found = None
    with triton.InferenceServerClient(url) as client:
        while True:
            stats = client.get_inference_statistics(model).model_stats[0]
            before, found = found, (stats.inference_count, stats.execution_count)
            if found == before:
                return found
            time.sleep(0.3)


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
        inferences, executions = statistics(url, DECODER.name)

        def click(index: int) -> Any:
            embedding: Embedding = embeddings[index % 2]
            return sam.predict(embedding, points=[clicks[index]])

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            together = list(pool.map(click, range(16)))
    for mine, expected in zip(together, alone, strict=True):
        assert np.abs(mine.scores - expected.scores).max() < 1e-3
        assert (mine.masks != expected.masks).mean() < 1e-3
    differences = [
        np.abs(a.scores - b.scores).max() for a, b in zip(alone, alone[2:], strict=False)
    ]
    assert min(differences) > 1e-3, "answers must differ for this test to tell them apart"
    more_inferences, more_executions = statistics(url, DECODER.name)
    assert more_inferences - inferences == 16
    if target == "torchscript":
        assert more_executions - executions < 16
    else:
        assert more_executions - executions == 16
