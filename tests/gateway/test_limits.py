"""Limits of bytes, seconds and requests at once, and callers who go away or never come."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import pytest
from running_gateway import PATIENCE, Gateway, kind, posting, wait_for

from slimsam_client.clicks.request import MAX_PROMPT_BYTES
from slimsam_client.contract import CLICK, IMAGE
from slimsam_client.testing import FakeServer
from slimsam_gateway import connections

from .conftest import Start

POINT = {"points": [[90, 90]]}
UNKNOWN = "0" * 64
MAX_IMAGE = 100_000
PATHS = {"/v1/images": MAX_IMAGE, f"/v1/images/{UNKNOWN}/masks": MAX_PROMPT_BYTES}


def received(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    content = b""
    with suppress(ConnectionResetError):  # it was closed before all that was sent had come
        while part := connection.recv(2**16):
            content += part
    return content


@pytest.mark.parametrize("path", PATHS)
def test_size_of_bodies(start: Start, path: str) -> None:
    gateway, limit = start(max_image_bytes=MAX_IMAGE), PATHS[path]
    just_allowed = gateway.problem("POST", path, content=bytes(limit))
    assert just_allowed["status"] == 400  # and neither picture nor prompt

    def chunks() -> Iterator[bytes]:
        yield bytes(limit)
        yield b"."

    in_chunks = gateway.problem("POST", path, content=chunks())
    assert kind(in_chunks) == "too-large" and f"at most {limit:,} bytes" in in_chunks["detail"]
    # Who says beforehand how much it will be is told at once, and sends none of it.
    for length in (limit + 1, 10**19):
        with gateway.send(posting(path, length, "Expect: 100-continue")) as connection:
            assert connection.recv(2**16).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_never_ends_is_not_kept(start: Start) -> None:
    gateway = start(max_image_bytes=MAX_IMAGE)
    head = b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with gateway.send(head) as connection:
        chunk = b"2710\r\n" + bytes(10_000) + b"\r\n"
        for _ in range(12):
            connection.sendall(chunk)
        assert connection.recv(2**16).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_comes_too_slowly(gateway: Gateway) -> None:
    with gateway.send(posting("/v1/images?timeout=0.3", 1000) + b"half") as connection:
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert b"/v1/problems#slow-upload" in answer


def test_heads_that_never_end(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with gateway.send(whole) as again:
        answer = b""
        while not answer.endswith(b"}"):
            answer += again.recv(2**16)
        assert answer.startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
        again.sendall(whole[:20])
        assert received(again) == b""
    for begun in (b"", whole[:20]):
        with gateway.send(begun) as connection:
            assert received(connection) == b""


def test_the_rest_of_a_body_that_was_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = start(max_image_bytes=MAX_IMAGE)
    with gateway.send(posting("/v1/images", 10**9) + b"some") as connection:
        assert connection.recv(2**16).startswith(b"HTTP/1.1 413 ")
        monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
        wait_for(lambda: is_closed(connection))


def is_closed(connection: socket.socket) -> bool:
    """Go on sending, and see whether anybody is there."""
    try:
        connection.sendall(bytes(1000))
        return False
    except OSError:
        return True


def test_a_request_under_way_is_not_watched(
    gateway: Gateway, server: FakeServer, picture: bytes
) -> None:
    """However long its answer takes, its head has come."""
    server.delay(IMAGE.name, PATIENCE)
    with gateway.send(posting("/v1/images?timeout=60", len(picture)) + picture):
        wait_for(lambda: len(server.requests) == 1)
        (under_way,) = gateway.server.server_state.connections
        assert isinstance(under_way, connections.BoundedProtocol)
        assert under_way._ending is None


def test_requests_at_once(start: Start, server: FakeServer, picture: bytes) -> None:
    gateway = start(max_requests=2, metrics=True)
    image_id = gateway.upload(picture)
    url = f"/v1/images/{image_id}/masks"
    server.delay(CLICK.name, PATIENCE, times=2)
    head = posting(f"{url}?timeout=60", 22)
    waiting = [gateway.send(head + b'{"points": [[90, 90]]}') for _ in range(2)]
    wait_for(lambda: len(server.requests) == 3)
    problem = gateway.problem("POST", url, json=POINT)
    assert (problem["status"], kind(problem)) == (503, "full")
    # Whether it is alive is told however much it has to do.
    assert "slimsam_gateway_active_requests 2.0" in gateway.http.get("/metrics").text
    for connection in waiting:
        connection.close()
    wait_for(lambda: gateway.http.post(url, json=POINT).status_code == 200)


def test_callers_who_go_away(gateway: Gateway, server: FakeServer, picture: bytes) -> None:
    """Their requests are cancelled on the server, and the gateway goes on."""
    image_id = gateway.upload(picture)
    server.delay(CLICK.name, PATIENCE)
    head = posting(f"/v1/images/{image_id}/masks?timeout=60", 22, "X-Request-ID: impatient")
    connection = gateway.send(head + b'{"points": [[90, 90]]}')
    wait_for(lambda: len(server.requests) == 2)
    connection.close()
    wait_for(lambda: server.requests[1].status is not None)
    assert server.requests[1].status is grpc.StatusCode.CANCELLED
    line = gateway.log.line_of("impatient")
    assert (line["status"], line["kind"], line["problem"]) == (499, "click", None)
    gateway.upload(picture)


def test_callers_who_go_away_in_the_middle_of_a_body(gateway: Gateway, picture: bytes) -> None:
    head = posting("/v1/images", 1000, "X-Request-ID: unsure")
    gateway.send(head + b"half").close()
    line = gateway.log.line_of("unsure")
    assert (line["status"], line["kind"]) == (499, "upload")
    gateway.upload(picture)


def test_time_that_is_up_cancels(gateway: Gateway, server: FakeServer, picture: bytes) -> None:
    server.delay(IMAGE.name, PATIENCE)
    while not server.requests:  # on a busy machine it may be up before the server is asked
        problem = gateway.problem("POST", "/v1/images?timeout=2", content=picture)
        assert kind(problem) == "timeout"
    wait_for(lambda: server.requests[0].status is not None)
    assert server.requests[0].status is grpc.StatusCode.CANCELLED


def test_seconds_that_are_asked_for(start: Start, picture: bytes) -> None:
    gateway = start(timeout=5, max_timeout=20)
    assert gateway.http.post("/v1/images?timeout=20", content=picture).status_code == 201
    for wrong in ("0", "-1", "20.1", "nan", "inf", "1e9", "", "soon", "1_0", "9" * 1000):
        problem = gateway.problem("POST", f"/v1/images?timeout={wrong}", content=picture)
        assert kind(problem) == "query"
        assert "above 0 and up to 20" in problem["detail"] and len(problem["detail"]) < 300


def test_the_settings_seconds_are_those_of_a_request_that_does_not_say(
    start: Start, server: FakeServer, picture: bytes
) -> None:
    gateway = start(timeout=2, max_timeout=PATIENCE)
    server.delay(IMAGE.name, PATIENCE)
    while not server.requests:  # as above
        assert kind(gateway.problem("POST", "/v1/images", content=picture)) == "timeout"
    image_id = gateway.http.post("/v1/images?timeout=60", content=picture).json()["id"]
    server.delay(IMAGE.name, 2.5)  # everything mode has the longest
    path = f"/v1/images/{image_id}/everything?points_per_side=1"
    assert gateway.http.post(path, content=picture).status_code == 200


def test_many_at_once(gateway: Gateway, picture: bytes) -> None:
    image_id = gateway.upload(picture)

    def click(number: int) -> list[list[str]]:
        prompt = {"points": [[90 if number % 2 else 250, 90]]}
        answer = gateway.http.post(f"/v1/images/{image_id}/masks", json=prompt)
        masks: list[list[str]] = answer.json()["masks"]
        return masks

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(click, range(32)))
    assert answers[0] != answers[1]
    for number, answer in enumerate(answers):
        assert answer == answers[number % 2]
