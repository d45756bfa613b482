"""Embeddings of another checkpoint than the one that is served are refused."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as messages

from slimsam_client import (
    BatchError,
    ContractError,
    GenerateSettings,
    ModelNotReadyError,
    Predictor,
    SlimSam,
    StaleEmbeddingError,
)
from slimsam_client.calls import Done, advance
from slimsam_client.contract import ANY_VERSION, ENCODER, INFO
from slimsam_client.parity.model_info import ModelInfo
from slimsam_client.parity.reference import ReferenceAnswer
from slimsam_client.testing import FakeServer, models as fake_models, servicer
from slimsam_client.testing.info import DIGEST, answer_info
from slimsam_client.transport import served_digest
from slimsam_client.transport.exchange import Attempt, Rpc
from slimsam_client.transport.sender import Sender

Connect = Callable[..., Any]
IMAGE = np.zeros((60, 90, 3), np.uint8)
IMAGE[20:40, 30:60] = 255, 0, 0
CLICK = [(45, 30)]
OTHER = "0" * 64


def no_version(digest: str) -> str:
    return ANY_VERSION


@pytest.fixture(params=["versions", "no versions"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server whose models have the checkpoint's version, and one of before there were such."""
    if request.param == "no versions":
        monkeypatch.setattr(servicer, "model_version", no_version)
    with FakeServer() as running:
        yield running


@pytest.fixture
def change_after_encoding(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Iterable[str]], None]:
    """Have the server change its checkpoint whenever it has encoded an image."""
    changes: list[Iterator[str]] = [iter(())]

    def infer(spec: Any, *arguments: Any) -> Any:
        answer = fake_models.infer(spec, *arguments)
        if spec is ENCODER:
            server.digest = next(changes[0], server.digest)
        return answer

    def change(digests: Iterable[str]) -> None:
        changes[0] = iter(digests)

    monkeypatch.setattr(servicer, "infer", infer)
    return change


@pytest.fixture(autouse=True)
def asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_digest, "DIGEST_SECONDS", 0.0)


def test_embeddings_carry_the_digest_that_the_server_named(
    server: FakeServer, connect: Connect
) -> None:
    sam = connect(server.url)
    embedding = sam.embed(IMAGE)
    assert embedding.digest == DIGEST
    assert pickle.loads(pickle.dumps(embedding)).digest == DIGEST
    assert [one.digest for one in sam.embed([IMAGE, IMAGE])] == [DIGEST, DIGEST]
    sam.predict(embedding, CLICK)
    assert {request.model for request in server.requests} == {"slimsam_encoder", "slimsam_decoder"}


def test_an_embedding_of_another_checkpoint_is_refused(
    server: FakeServer, connect: Connect
) -> None:
    sam = connect(server.url)
    embedding = sam.embed(IMAGE)
    server.digest = OTHER
    with pytest.raises(StaleEmbeddingError, match="is served.*of another.*; embed the image again"):
        sam.predict(embedding, CLICK)
    refused = [one.status for one in server.requests if one.model == "slimsam_decoder"]
    assert set(refused) <= {grpc.StatusCode.NOT_FOUND} and len(refused) <= 3
    assert sam.predict(sam.embed(IMAGE), CLICK).masks.any()


def test_a_new_client_refuses_it_too(server: FakeServer, connect: Connect) -> None:
    with SlimSam(server.url) as sam:
        kept = pickle.dumps(sam.embed(IMAGE))
    server.digest = OTHER
    with pytest.raises(StaleEmbeddingError):
        connect(server.url).predict(pickle.loads(kept), CLICK)


def test_a_predictor_refuses_its_embedding(server: FakeServer) -> None:
    """Where the server keeps no pictures; those that it keeps are sent again."""
    server.unready.add("slimsam_image")
    with SlimSam(server.url) as sam:
        predictor = Predictor(sam)
        predictor.set_image(IMAGE)
        server.digest = OTHER
        with pytest.raises(StaleEmbeddingError):
            predictor.predict(np.array(CLICK), np.array([1]))
        predictor.set_image(IMAGE)
        assert predictor.predict(np.array(CLICK), np.array([1]))[0].any()


def test_everything_mode_is_of_one_checkpoint(server: FakeServer, connect: Connect) -> None:
    def change(done: int, total: int) -> None:
        server.digest = OTHER

    settings = GenerateSettings(points_per_side=4, points_per_batch=8)
    sam = connect(server.url)
    with pytest.raises(StaleEmbeddingError):
        sam.generate(IMAGE, settings, change, on_server=False)
    assert sam.generate(IMAGE, settings, on_server=False)


@pytest.mark.parametrize("count", [1, 65])
def test_segment_is_of_one_checkpoint(
    count: int,
    server: FakeServer,
    connect: Connect,
    change_after_encoding: Callable[[Iterable[str]], None],
) -> None:
    """The image is encoded, and the prompts follow; in between, the checkpoint changes."""
    points = [[point] for point in CLICK * count]
    sam = connect(server.url)
    change_after_encoding([OTHER])
    assert sam.segment(IMAGE, points).masks.any()  # encoded once more
    assert [one.model for one in server.requests].count("slimsam_encoder") == 2
    change_after_encoding(cycle([DIGEST, OTHER]))
    with pytest.raises(StaleEmbeddingError):
        sam.segment(IMAGE, points)
    with pytest.raises(BatchError) as caught:
        sam.segment([IMAGE], [points])
    assert isinstance(caught.value.errors[0], StaleEmbeddingError)


def test_an_image_whose_server_has_gone_is_encoded_again(
    connect: Connect,
    change_after_encoding: Callable[[Iterable[str]], None],
    monkeypatch: pytest.MonkeyPatch,
    server: FakeServer,
) -> None:
    """One server encodes it, and goes; those that say what they are have another checkpoint."""
    monkeypatch.setattr(servicer, "answer_info", lambda digest: answer_info(OTHER))
    change_after_encoding([OTHER])
    sam = connect(server.url)
    embedding = sam.embed(IMAGE)
    assert embedding.digest == OTHER
    says_its_version = servicer.model_version is not no_version
    assert len(server.requests) == 1 + says_its_version
    if says_its_version:
        change_after_encoding([DIGEST])
        sam.embed(IMAGE)
        with pytest.raises(StaleEmbeddingError, match="16 answers of others"):
            sam.embed(IMAGE)


def test_it_is_found_out_after_a_restart(server: FakeServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(served_digest, "DIGEST_SECONDS", 3600.0)
    with SlimSam(server.url) as sam:
        embedding = sam.embed(IMAGE)
        sam.predict(embedding, CLICK)
        server.fail("slimsam_decoder", grpc.StatusCode.UNAVAILABLE, "Socket closed")
        server.digest = OTHER
        with pytest.raises(StaleEmbeddingError):
            sam.predict(embedding, CLICK)


def test_without_slimsam_info_nothing_is_checked(server: FakeServer, connect: Connect) -> None:
    server.unready.add(INFO.name)
    sam = connect(server.url)
    embedding = sam.embed(IMAGE)
    assert embedding.digest is None
    assert sam.predict(embedding, CLICK).masks.any()
    with pytest.raises(ModelNotReadyError, match=INFO.name):
        connect(server.url).model_info()  # one that had an answer would wait for the model


def test_a_server_says_what_it_serves(server: FakeServer, connect: Connect) -> None:
    sam = connect(server.url)
    info = sam.model_info()
    assert (info.checkpoint, info.digest, info.precision) == ("fake", DIGEST, "fp32")
    parity = sam.measure_parity()
    assert parity.info == info and parity.missed == []
    assert parity.figures.mask_iou_min == 1.0


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b'{"checkpoint": 3}', b"\xff", b"[" * 100_000]
)
def test_information_that_is_none_is_a_contract_error(text: bytes) -> None:
    with pytest.raises(ContractError, match="slimsam_info"):
        ModelInfo.from_json(text)


def damaged_references() -> Iterator[bytes]:
    whole = answer_info(DIGEST)["reference"][0]
    yield b""
    yield b"PK"
    yield whole[:-40]
    yield whole[:1000] + bytes(1000) + whole[2000:]
    yield ReferenceAnswer(
        np.zeros((256, 16, 8), np.float16), np.zeros((3, 4, 256, 256), bool),
        np.zeros((3, 4), np.float32),
    ).to_bytes()  # fmt: skip
    yield ReferenceAnswer(
        np.zeros((256, 1024, 1024), np.float16), np.zeros((3, 4, 256, 256), bool),
        np.zeros((3, 4), np.float32),
    ).to_bytes()  # fmt: skip


@pytest.mark.parametrize("content", [*damaged_references()], ids=range(6))
def test_a_reference_that_is_none_is_a_contract_error(content: bytes) -> None:
    with pytest.raises(ContractError, match="reference answer"):
        ReferenceAnswer.from_bytes(content)


def test_figures_beyond_their_bounds_are_named() -> None:
    answer = answer_info(DIGEST)
    bounds = ModelInfo.from_json(answer["info"][0]).bounds
    assert bounds.beyond(bounds) == []
    assert bounds.beyond(replace(bounds, embedding_error=1e-4)) == [
        "embedding_error 0.001, expected at most 0.0001"
    ]
    wrong = replace(bounds, mask_iou_min=float("nan"), score_error=float("inf"))
    assert len(wrong.beyond(bounds)) == 2


def test_a_question_leaves_it_to_the_requests_whether_a_server_is_known() -> None:
    """Which says whether a request waits for it: another thread may know it by now."""
    sender = Sender("localhost:8001")
    live = messages.ServerLiveResponse(live=True).SerializeToString()
    for answered in (False, True):
        asking = served_digest.ServedDigest(sender).ask(deadline=math.inf)
        step = advance(asking, None)
        assert isinstance(step, Attempt) and step.method == "ModelReady"
        if answered:
            request = sender.call(Rpc("ServerLive", messages.ServerLiveRequest()), math.inf)
            assert isinstance(advance(request, None), Attempt)
            assert isinstance(advance(request, live), Done)
        step = advance(asking, messages.ModelReadyResponse(ready=False).SerializeToString())
        assert isinstance(step, Done) and step.result is None
        assert sender.answered is answered
