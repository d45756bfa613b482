"""Malformed tensors, sent with plain tritonclient, and batches, on a real tritonserver."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from skimage import data
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from slimsam_client import Embedding, SlimSam
from slimsam_client.contract import DECODER, ENCODER
from slimsam_server import EmbeddedServer
from slimsam_server.launch import _children
from slimsam_server.probe import probe

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(demo_repository) as running:
        yield running


def infer(url: str, model: str, arrays: Arrays) -> triton.InferResult:
    tensors = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    with triton.InferenceServerClient(url) as client:
        return client.infer(model, tensors, client_timeout=60)


def decoder_inputs(prompts: int = 1, points: int = 2) -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "image_embeddings": rng.normal(0, 1, (1, 256, 64, 64)).astype(np.float16),
        "point_coords": rng.uniform(0, 1024, (1, prompts, points, 2)).astype(np.float32),
        "point_labels": np.ones((1, prompts, points), np.int32),
        "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        "has_mask_input": np.zeros((1, 1), np.float32),
    }


def changed(name: str, value: Any) -> Arrays:
    arrays = decoder_inputs()
    arrays[name] = value
    return arrays


def filled(name: str, value: float) -> Arrays:
    arrays = decoder_inputs()
    arrays[name] = np.full_like(arrays[name], value)
    return arrays


MALFORMED: dict[str, Callable[[], Arrays]] = {
    "wrong dtype": lambda: changed("point_coords", np.zeros((1, 1, 2, 2), np.float64)),
    "wrong dims": lambda: changed("point_coords", np.zeros((1, 1, 2, 3), np.float32)),
    "wrong rank": lambda: changed("point_labels", np.zeros((1, 2), np.int32)),
    "missing input": lambda: {k: v for k, v in decoder_inputs().items() if k != "mask_input"},
    "too large a batch": lambda: {
        name: np.repeat(array, 9, 0) for name, array in decoder_inputs().items()
    },
    "P unequal": lambda: changed("point_labels", np.ones((1, 2, 2), np.int32)),
    "N unequal": lambda: changed("point_labels", np.ones((1, 1, 3), np.int32)),
    "NaN": lambda: filled("point_coords", np.nan),
    "infinity": lambda: filled("point_coords", np.inf),
    "unknown label": lambda: filled("point_labels", 7),
    "N = 0": lambda: decoder_inputs(points=0),
    "P = 100,000": lambda: decoder_inputs(prompts=100_000),
    "N = 10,000": lambda: decoder_inputs(points=10_000),
    "NaN mask": lambda: filled("mask_input", np.nan),
    "NaN embedding": lambda: filled("image_embeddings", np.nan),
    "half a mask": lambda: filled("has_mask_input", 0.5),
}


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
    with triton.InferenceServerClient(url) as client:
        stats = client.get_inference_statistics(model).model_stats[0]
        return stats.inference_count, stats.execution_count


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
