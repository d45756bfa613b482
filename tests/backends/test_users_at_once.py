"""Many users of Triton's own backends at once: what batches bring together, and who hurts whom."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import random
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from inference_counts import settled_counts
from numpy.typing import NDArray
from raw_requests import FORBIDDEN, LYING, MALFORMED, decoder_inputs, infer, lying_request
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException

from benchmarks.resident_memory import peak_mib, reset_peak
from slimsam_client.contract import BULK_DECODER, DECODER, MAX_PROMPTS, Arrays
from slimsam_client.parity.figures import largest_difference
from slimsam_server import EmbeddedServer

USERS = 8
MOST_MIB = 4e9 / 2**20
GOOD, BAD = 200, 100


def request(seed: int, prompts: int, points: int = 2) -> Arrays:
    """Make a request to the decoder like no other."""
    arrays = decoder_inputs(prompts, points)
    rng = np.random.default_rng(seed)
    arrays["image_embeddings"] = rng.normal(0, 1, (1, 256, 64, 64)).astype(np.float16)
    arrays["point_coords"] = rng.uniform(0, 1024, (1, prompts, points, 2)).astype(np.float32)
    return arrays


def masks(url: str, arrays: Arrays, model: str = DECODER.name) -> NDArray[np.float16]:
    found: NDArray[np.float16] = infer(url, model, arrays, timeout=300).as_numpy("low_res_masks")
    return found


def at_once(
    url: str, requests: Sequence[Arrays], model: str = DECODER.name
) -> list[NDArray[np.float16]]:
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda arrays: masks(url, arrays, model), requests))


def assert_same(found: NDArray[Any], alone: NDArray[Any]) -> None:
    """Rounding aside, which differs with the batch: by a step or two of half precision."""
    assert found.shape == alone.shape
    assert largest_difference(found, alone) <= 2e-3 * np.abs(alone).max()


def test_eight_users_of_64_prompts(serve_native: Any, target: str) -> None:
    """Four requests of each, one after the other as the client does: two to each decoder."""
    server = serve_native("slimsam-77", target)
    # Started anew: what its runtime has kept for other tests is not these users' memory.
    server.stop()
    server.start()
    url = server.grpc_url
    two = [request(seed, MAX_PROMPTS) for seed in range(2)]
    alone = [masks(url, arrays) for arrays in two]
    reset_peak(server.processes())
    for model in (DECODER.name, BULK_DECODER.name) * (32 // MAX_PROMPTS):
        found = at_once(url, two * (USERS // 2), model)
        for index, answer in enumerate(found):
            assert_same(answer, alone[index % 2])
    assert peak_mib(server.processes()) < MOST_MIB


def test_clicks_of_several_prompts_are_answered_in_batches(server: EmbeddedServer) -> None:
    requests = [request(seed, prompts=8) for seed in range(USERS)]
    alone = [masks(server.grpc_url, arrays) for arrays in requests]
    batched = False
    for _ in range(5):  # no batch forms where requests come one by one, on a busy machine
        before = settled_counts(server.grpc_url, DECODER.name)
        found = at_once(server.grpc_url, requests)
        after = settled_counts(server.grpc_url, DECODER.name, before[0] + USERS)
        inferences, executions = (late - early for late, early in zip(after, before, strict=True))
        for answer, expected in zip(found, alone, strict=True):
            assert_same(answer, expected)
        assert inferences == USERS
        batched = executions < USERS
        if batched:
            break
    assert batched == (server.target != "openvino")


def send_bad(server: EmbeddedServer, kind: str, what: str) -> None:
    """Send a request of some kind, whose answer other tests look at."""
    url = server.grpc_url
    if kind == "malformed":
        with pytest.raises(InferenceServerException):
            infer(url, DECODER.name, MALFORMED[what]())
    elif kind == "forbidden":
        infer(url, DECODER.name, FORBIDDEN[what][0]())
    else:
        with grpc.insecure_channel(url) as channel, pytest.raises(grpc.RpcError):
            GRPCInferenceServiceStub(channel).ModelInfer(lying_request(*LYING[what]), timeout=60)


def test_bad_requests_hurt_no_good_ones(server: EmbeddedServer) -> None:
    """PyTorch's backend is spared shapes that lie: they end it, as docs/deployment.md says."""
    kinds = [("malformed", what) for what in MALFORMED]
    kinds += [("forbidden", what) for what in FORBIDDEN]
    if server.target != "torchscript":
        kinds += [("lying", what) for what in LYING]
    # Those that are answered like the most prompts come once.
    light = [
        (kind, what)
        for kind, what in kinds
        if kind != "forbidden" or len(FORBIDDEN[what][1]) < MAX_PROMPTS
    ]
    bad = list(itertools.islice(itertools.chain(kinds, itertools.cycle(light)), BAD))
    requests = [request(seed, *shape) for seed, shape in enumerate([(1, 2)] * 6 + [(2, 4), (3, 2)])]
    alone = [masks(server.grpc_url, arrays) for arrays in requests]

    def send_good(index: int) -> None:
        assert_same(masks(server.grpc_url, requests[index]), alone[index])

    jobs = [functools.partial(send_bad, server, *each) for each in bad]
    jobs += [functools.partial(send_good, index % len(requests)) for index in range(GOOD)]
    random.Random(0).shuffle(jobs)
    with concurrent.futures.ThreadPoolExecutor(USERS) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()
