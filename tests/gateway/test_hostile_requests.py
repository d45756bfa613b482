"""Requests that nobody means well: each is refused in a line, and the gateway goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from running_gateway import Gateway, kind

from slimsam_client.testing import FakeServer

POINT = {"points": [[90, 90]]}


@pytest.fixture
def url(gateway: Gateway, picture: bytes) -> Iterator[str]:
    image_id = gateway.upload(picture)
    yield f"/v1/images/{image_id}/masks"
    assert gateway.upload(picture) == image_id


PROMPTS = {
    "nothing": b"",
    "deep": b"[" * 60_000,
    "deep in a field": b'{"points":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "NaN": b'{"points": [[NaN, 1]]}',
    "infinity": b'{"points": [[1e999, 1]]}',
    "a huge number": b'{"points": [[' + b"9" * 60_000 + b", 1]]}",
    "a field twice": b'{"points": [[1, 1]], "points": [[2, 2]]}',
    "another field": b'{"ponts": [[1, 1]]}',
    "a list": b"[]",
    "null": b"null",
    "no UTF-8": b'{"format": "\xff"}',
    "half a character": b'{"format": "\\ud800"}',
    "truth values": b'{"points": [[true, false]]}',
    "too many objects": json.dumps({"box": [[1, 1, 9, 9]] * 17}).encode(),
    "no prompt": b"{}",
    "another format": b'{"points": [[1, 1]], "format": "svg"}',
    "a picture": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts(gateway: Gateway, url: str, server: FakeServer, name: str) -> None:
    before = len(server.requests)
    problem = gateway.problem("POST", url, content=PROMPTS[name])
    assert (problem["status"], kind(problem) in ("prompt", "refused")) == (400, True)
    assert len(problem["detail"]) < 500 and problem["detail"].isprintable()
    # The form is checked before the server is asked.
    if kind(problem) == "prompt":
        assert len(server.requests) == before


def test_prompts_outside_the_picture(gateway: Gateway, url: str) -> None:
    problem = gateway.problem("POST", url, json={"points": [[321, 5]]})
    assert problem["status"] == 400 and "(321, 5)" in problem["detail"]


@pytest.mark.parametrize(
    "image_id", ["0" * 63, "0" * 65, "G" * 64, "0" * 60_000, "%00" * 64, "%F0%9F%98%80", "..%2f"]
)
def test_ids(gateway: Gateway, image_id: str) -> None:
    for path in (f"/v1/images/{image_id}/masks", f"/v1/images/{image_id}/everything"):
        problem = gateway.problem("POST", path, json=POINT)
        assert problem["status"] == 404
        assert len(problem["detail"]) < 300 and problem["detail"].isprintable()


def test_an_id_that_nobody_has(gateway: Gateway) -> None:
    problem = gateway.problem("POST", f"/v1/images/{'0' * 64}/masks", json=POINT)
    assert kind(problem) == "not-kept"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("timout=1", "'timout'"),
        ("timeout=1&timeout=2", "once"),
        ("original_width=10", "original_height, original_width: expected both"),
        ("original_width=10&original_height=0", "from 1 to"),
        ("original_width=10&original_height=1.5", "from 1 to"),
        ("original_width=10&original_height=131073", "from 1 to"),
        ("original_width=%D9%A1&original_height=1", "from 1 to"),
    ],
)
def test_queries_of_an_upload(gateway: Gateway, picture: bytes, query: str, expected: str) -> None:
    problem = gateway.problem("POST", f"/v1/images?{query}", content=picture)
    assert kind(problem) == "query" and expected in problem["detail"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("points_per_side=many", "query"),
        ("points_per_side=1.5", "settings"),
        ("points_per_side=257", "settings"),
        ("pred_iou_thresh=nan", "query"),
        ("crop_n_layers=4&points_per_side=256", "refused"),
        ("grid=1", "query"),
    ],
)
def test_settings_of_everything_mode(
    gateway: Gateway, picture: bytes, query: str, expected: str
) -> None:
    image_id = gateway.upload(picture)
    path = f"/v1/images/{image_id}/everything?{query}"
    problem = gateway.problem("POST", path, content=picture)
    assert (problem["status"], kind(problem)) == (400, expected)


def test_a_size_that_the_reduced_picture_cannot_have(gateway: Gateway, picture: bytes) -> None:
    path = "/v1/images?original_width=4000&original_height=3000"
    problem = gateway.problem("POST", path, content=picture)
    assert kind(problem) == "refused" and "original_size" in problem["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"<svg/>",
    ],
)
def test_files_that_are_no_pictures(gateway: Gateway, content: bytes) -> None:
    problem = gateway.problem("POST", "/v1/images", content=content)
    assert problem["status"] == 400 and "expected" in problem["detail"]


def test_half_a_picture(gateway: Gateway, picture: bytes) -> None:
    problem = gateway.problem("POST", "/v1/images", content=picture[: len(picture) // 2])
    assert problem["status"] == 400 and "truncated" in problem["detail"]


def test_a_form(gateway: Gateway, picture: bytes) -> None:
    problem = gateway.problem("POST", "/v1/images", files={"file": picture})
    assert kind(problem) == "media-type" and "--data-binary" in problem["detail"]


def test_a_compressed_body(gateway: Gateway, url: str) -> None:
    """What is small may be large when it is unpacked, so nothing is."""
    headers = {"content-encoding": "gzip"}
    problem = gateway.problem("POST", url, content=b"\x1f\x8b", headers=headers)
    assert kind(problem) == "media-type"


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1 HTTP/1.1\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\n",
        b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000,
    ],
)
def test_what_is_no_http(gateway: Gateway, request_: bytes) -> None:
    try:
        with gateway.send(request_) as connection:
            assert connection.recv(2**16).startswith(b"HTTP/1.1 400 ")
    except ConnectionError:
        pass  # it was closed before all of this was sent
    assert gateway.http.get("/v1").status_code == 200


def test_a_request_without_host(gateway: Gateway) -> None:
    with gateway.send(b"GET /v1 HTTP/1.0\r\n\r\n") as connection:
        assert connection.recv(2**16).startswith(b"HTTP/1.1 421 ")


def test_the_schema_of_prompts_is_the_one_that_checks(gateway: Gateway) -> None:
    path = Path(__file__).parents[2] / "docs/click-prompt.schema.json"
    published = json.loads(path.read_text())
    described = gateway.http.get("/v1/openapi.json").json()["components"]["schemas"]["Prompt"]
    del published["$schema"]
    assert described == published
    Draft202012Validator.check_schema(described)
