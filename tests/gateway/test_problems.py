"""Each kind of problem, and what callers are told of it."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from patience import SECONDS
from running_gateway import PATIENCE, Gateway, kind, wait_for

from slimsam_client import SlimSam, errors, relay
from slimsam_client.cli.health import ModelHealth, examine
from slimsam_client.contract import AUTOMATIC, CLICK, IMAGE, TOO_LARGE
from slimsam_client.errors import SlimSamError
from slimsam_client.testing import FakeServer, servicer
from slimsam_gateway import health
from slimsam_gateway.problems import KINDS, Problem, problem_of

POINT = {"points": [[90, 90]]}
UNKNOWN = "0" * 64


def test_every_error_of_the_client_is_a_problem() -> None:
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, SlimSamError) and name != "BatchError":
            problem = problem_of(error("localhost:8001: said"))
            assert problem.kind in KINDS
            assert ("localhost" in problem.detail) is (problem.kind.status < 500)


def test_kinds_are_told_apart() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert [kind.status for kind in KINDS] == sorted(kind.status for kind in KINDS)
    later = [kind for kind in KINDS if kind.status == 503]
    assert all(Problem(kind, "").response().headers["retry-after"] == "2" for kind in later)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "picture: expected another", (400, "refused")),
        (grpc.StatusCode.INVALID_ARGUMENT, f"at most 9 pixels; {TOO_LARGE}", (413, "too-large")),
        (grpc.StatusCode.INTERNAL, "out of memory", (502, "server")),
        (grpc.StatusCode.PERMISSION_DENIED, "who are you", (502, "access")),
        (grpc.StatusCode.CANCELLED, "server stops", (503, "cancelled")),
        (grpc.StatusCode.NOT_FOUND, "model is not found", (503, "not-ready")),
    ],
)
def test_what_the_server_answers(
    gateway: Gateway,
    server: FakeServer,
    picture: bytes,
    status: Any,
    message: str,
    expected: tuple[int, str],
) -> None:
    server.fail(IMAGE.name, status, message)
    problem = gateway.problem("POST", "/v1/images", content=picture)
    assert (problem["status"], kind(problem)) == expected
    # Callers are told what they can change, and neither the server's address nor its secrets.
    assert (message in problem["detail"]) is (expected[0] < 500)
    assert server.url not in str(problem)
    gateway.upload(picture)


def test_the_log_says_what_callers_are_not_told(
    gateway: Gateway, server: FakeServer, picture: bytes
) -> None:
    server.fail(IMAGE.name, grpc.StatusCode.INTERNAL, "out of memory")
    headers = {"x-request-id": "one-of-mine"}
    assert gateway.http.post("/v1/images", content=picture, headers=headers).status_code == 502
    line = gateway.log.line_of("one-of-mine")
    assert line["error"].startswith("ServerError: ")
    assert all(word in line["error"] for word in ("out of memory", server.url, "one-of-mine"))


def test_a_busy_server(gateway: Gateway, server: FakeServer, picture: bytes) -> None:
    """The client asks again until time is up."""
    gateway.upload(picture)
    full = grpc.StatusCode.RESOURCE_EXHAUSTED
    server.fail(IMAGE.name, full, "exceeds maximum queue size", times=1)
    gateway.upload(picture)
    server.fail(IMAGE.name, full, "exceeds maximum queue size", times=1000)
    for seconds in SECONDS:
        problem = gateway.problem("POST", f"/v1/images?timeout={seconds}", content=picture)
        if kind(problem) != "timeout":  # in which a busy machine has not heard of the server
            break
    assert (problem["status"], kind(problem)) == (503, "busy")


def test_a_picture_or_a_mask_that_is_not_kept(
    gateway: Gateway, server: FakeServer, picture: bytes
) -> None:
    image_id = gateway.upload(picture)
    url = f"/v1/images/{image_id}/masks"
    problem = gateway.problem("POST", url, json={**POINT, "mask_id": UNKNOWN})
    assert kind(problem) == "not-kept" and "not kept here: mask" in problem["detail"]
    server.forget_uploads()
    problem = gateway.problem("POST", url, json=POINT)
    assert kind(problem) == "not-kept" and "not kept here: picture" in problem["detail"]
    assert gateway.upload(picture) == image_id
    assert gateway.http.post(url, json=POINT).status_code == 200


def test_a_server_that_is_not_there(gateway: Gateway, server: FakeServer, picture: bytes) -> None:
    server.stop()
    for path in ("/v1/images", f"/v1/images/{UNKNOWN}/everything"):
        problem = gateway.problem("POST", path, content=picture)
        assert (problem["status"], kind(problem)) == (503, "unavailable")
    problem = gateway.problem("POST", f"/v1/images/{UNKNOWN}/masks", json=POINT)
    assert kind(problem) == "unavailable"
    server.start()
    # gRPC connects again after a pause of its own.
    wait_for(lambda: gateway.http.post("/v1/images", content=picture).status_code == 201)


@pytest.mark.parametrize("model", [IMAGE.name, CLICK.name])
def test_a_server_that_keeps_no_pictures(
    gateway: Gateway, server: FakeServer, picture: bytes, model: str
) -> None:
    server.unready.add(model)
    problem = gateway.problem("POST", "/v1/images", content=picture)
    assert (problem["status"], kind(problem)) == (503, "not-ready")
    assert model in problem["detail"]
    assert not server.requests  # and no picture was sent or encoded in vain


def test_a_server_without_everything_mode(
    gateway: Gateway, server: FakeServer, picture: bytes
) -> None:
    server.unready.add(AUTOMATIC.name)
    image_id = gateway.upload(picture)
    problem = gateway.problem("POST", f"/v1/images/{image_id}/everything", content=picture)
    assert kind(problem) == "not-ready" and AUTOMATIC.name in problem["detail"]


def test_no_answer_in_time(gateway: Gateway, server: FakeServer, picture: bytes) -> None:
    server.delay(IMAGE.name, 600)
    while not server.requests:  # on a busy machine it may be up before the server is asked
        problem = gateway.problem("POST", "/v1/images?timeout=2", content=picture)
        assert (problem["status"], kind(problem)) == (504, "timeout")
    gateway.upload(picture)


@pytest.mark.parametrize(
    "change",
    [
        {"scores": np.zeros((1, 2), np.float32)},
        {"boxes": np.zeros((2, 1, 4), np.int32)},
        {"mask_ids": np.array([[b"short"]], np.object_)},
        {"masks": np.array([[b"\xff"]], np.object_)},
    ],
)
def test_a_server_that_breaks_the_contract(
    gateway: Gateway, picture: bytes, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    answered = servicer.infer
    image_id = gateway.upload(picture)
    monkeypatch.setattr(
        servicer,
        "infer",
        lambda *arguments: {
            **answered(*arguments),
            **{name: array[None] for name, array in change.items()},
        },
    )
    problem = gateway.problem("POST", f"/v1/images/{image_id}/masks", json=POINT)
    assert (problem["status"], kind(problem)) == (502, "contract")


def test_masks_of_a_broken_model(
    gateway: Gateway, server: FakeServer, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN is what the contract's graphs answer to tensors that it forbids."""
    image_id = gateway.upload(picture)
    answered = servicer.infer
    nan = {"scores": np.full((1, 1, 1), np.nan, np.float32)}
    monkeypatch.setattr(servicer, "infer", lambda *arguments: {**answered(*arguments), **nan})
    problem = gateway.problem("POST", f"/v1/images/{image_id}/masks", json=POINT)
    assert (problem["status"], kind(problem)) == (502, "server")
    assert server.url not in str(problem)


def test_a_mistake_of_the_gateway_itself(
    gateway: Gateway, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(relay.Relay, "upload", broken)
    problem = gateway.problem("POST", "/v1/images", content=picture)
    assert (problem["status"], kind(problem)) == (500, "internal")
    assert "secret" not in str(problem)
    assert "secret" not in gateway.log.text


def test_addresses_and_methods_that_there_are_not(gateway: Gateway) -> None:
    for path in ("/page/", "/v1/", "/v2/images", "/v1/images/", "/metrics", "/docs"):
        assert kind(gateway.problem("GET", path)) == "not-found"
    answer = gateway.http.get("/v1/images")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert kind(answer.json()) == "method"


def test_health(gateway: Gateway, server: FakeServer) -> None:
    answer = gateway.http.get("/health")
    assert answer.status_code == 200
    content = answer.json()
    assert content["healthy"] and content["live"] and content["error"] is None
    assert [model["ready"] for model in content["models"]] == [True] * 4


def test_health_without_everything_mode(gateway: Gateway, server: FakeServer) -> None:
    server.unready.add(AUTOMATIC.name)
    answer = gateway.http.get("/health")
    assert (answer.status_code, answer.json()["healthy"]) == (200, True)


def test_health_without_what_is_needed(gateway: Gateway, server: FakeServer) -> None:
    server.unready.add(CLICK.name)
    answer = gateway.http.get("/health")
    assert (answer.status_code, answer.json()["error"]) == (503, f"{CLICK.name} is not served")


def test_health_of_a_broken_server(gateway: Gateway, server: FakeServer) -> None:
    server.fail(IMAGE.name, grpc.StatusCode.INTERNAL, "out of memory")
    answer = gateway.http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["error"] == f"{IMAGE.name} does not answer as it should"
    assert server.url not in answer.text and "memory" not in answer.text
    assert "out of memory" in gateway.log.line_of(answer.headers["x-request-id"])["error"]


def test_health_without_a_server(gateway: Gateway, server: FakeServer) -> None:
    server.stop()
    answer = gateway.http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["live"] is False


def test_many_who_ask_for_health_have_one_look(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    go_on = threading.Event()

    def held(sam: SlimSam, model: str, seconds: float) -> ModelHealth:
        looked.append(model)
        go_on.wait(PATIENCE)
        return examine(sam, model, seconds)

    monkeypatch.setattr(health, "examine", held)
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(gateway.http.get, "/health") for _ in range(8)]
        wait_for(lambda: len(gateway.server.server_state.tasks) == 8)
        go_on.set()
        assert {answer.result().status_code for answer in asking} == {200}
    assert looked == list(health.ASKED)
