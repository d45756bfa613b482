"""How the client reports servers that are absent, silent, broken or strange."""

from __future__ import annotations

import concurrent.futures
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from patience import patiently
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from slimsam_client import (
    ContractError,
    Embedding,
    InvalidRequestError,
    ModelNotReadyError,
    RequestTimeoutError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    SlimSam,
)
from slimsam_client.contract import DECODER, MODELS
from slimsam_client.testing import FakeServer
from slimsam_client.testing.messages import describe

EMBEDDING = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))


class Strange(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A server of another contract: it describes models as a test wants, and answers nothing."""

    def __init__(self) -> None:
        self.metadata = {spec.name: describe(spec, "strange") for spec in MODELS}

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        return self.metadata[request.name]

    def ModelInfer(self, request: Any, context: Any) -> Any:
        return messages.ModelInferResponse(model_name=request.model_name)


@pytest.fixture
def strange() -> Iterator[tuple[Strange, str]]:
    servicer = Strange()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def fake(patient_look: None) -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nothing listens, and nothing else can come to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def click(url: str, timeout: float = 10) -> None:
    with SlimSam(url, timeout) as sam:
        sam.predict(EMBEDDING, points=[[1, 1]])


def test_nobody_there(nobody: str) -> None:
    with pytest.raises(ServerUnavailableError, match="nothing answers; check the address") as error:
        click(nobody)
    assert nobody in str(error.value)
    with SlimSam(nobody) as sam:
        assert not sam.ready()
        start = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=nobody):
            sam.wait_until_ready(timeout=1)
        assert time.monotonic() - start < 20


def test_a_host_without_a_name() -> None:
    with pytest.raises(ServerUnavailableError, match="nowhere.invalid:8001"):
        click("nowhere.invalid:8001")


def test_a_listener_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises((RequestTimeoutError, ServerUnavailableError), match=url):
            click(url, timeout=0.5)


def test_an_answer_that_comes_too_late(fake: FakeServer) -> None:
    fake.delay(DECODER.name, 600)
    start = time.monotonic()
    with pytest.raises(RequestTimeoutError, match="expected an answer within") as error:
        click(fake.url, timeout=2)
    assert fake.url in str(error.value) and "longer timeout" in str(error.value)
    assert time.monotonic() - start < 120


def test_a_model_that_is_not_ready(fake: FakeServer) -> None:
    fake.unready.add(DECODER.name)
    with SlimSam(fake.url) as sam:
        assert not sam.ready()
        with pytest.raises(ModelNotReadyError, match="slimsam_decoder"):
            patiently(sam.wait_until_ready)
    with pytest.raises(ModelNotReadyError, match="wait_until_ready") as error:
        patiently(partial(click, fake.url))
    assert fake.url in str(error.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, ModelNotReadyError),  # from a server that lives
        (grpc.StatusCode.NOT_FOUND, ModelNotReadyError),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError),
        (grpc.StatusCode.INTERNAL, ServerError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ServerBusyError),
    ],
)
def test_a_refusal(status: grpc.StatusCode, kind: type[Exception], fake: FakeServer) -> None:
    fake.fail(DECODER.name, status, "as the test wants", times=999)
    with pytest.raises(kind, match="as the test wants") as error:
        patiently(partial(click, fake.url))
    assert fake.url in str(error.value)


def test_an_answer_without_its_tensors(strange: tuple[Strange, str]) -> None:
    with pytest.raises(ContractError, match="expected the output low_res_masks"):
        click(strange[1])


def rename(metadata: messages.ModelMetadataResponse) -> None:
    metadata.inputs[0].name = "embeddings"


def retype(metadata: messages.ModelMetadataResponse) -> None:
    metadata.inputs[1].datatype = "FP16"


def reshape(metadata: messages.ModelMetadataResponse) -> None:
    metadata.outputs[0].shape[2] = 3


def add(metadata: messages.ModelMetadataResponse) -> None:
    metadata.inputs.add(name="orig_im_size", datatype="FP32", shape=[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"expected input image_embeddings FP16 \[256, 64, 64\].*found none"),
        (retype, r"expected input point_coords FP32 .*found FP16 \[-1, -1, -1, 2\]"),
        (reshape, r"expected output low_res_masks .*found FP16 \[-1, -1, 3, 256, 256\]"),
        (add, "expected no further inputs, found orig_im_size"),
    ],
)
def test_tensors_of_another_contract(
    change: Callable[[Any], None], message: str, strange: tuple[Strange, str]
) -> None:
    servicer, url = strange
    change(servicer.metadata[DECODER.name])
    with pytest.raises(ContractError, match=message) as error:
        click(url)
    assert f"{url}: model slimsam_decoder" in str(error.value)
