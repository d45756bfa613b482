"""What is written of requests, and what goes with them to the server."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest
from running_gateway import Gateway

from slimsam_client.testing import FakeServer

from .conftest import Start

POINT = {"points": [[91.25, 90]]}
TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"


def test_a_line_for_each_request(gateway: Gateway, picture: bytes) -> None:
    answer = gateway.http.post("/v1/images", content=picture)
    line = gateway.log.line_of(answer.headers["x-request-id"])
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    received, total = line.pop("received_ms"), line.pop("total_ms")
    assert 0 <= received <= total
    assert line == {
        "id": answer.headers["x-request-id"],
        "key": None,
        "kind": "upload",
        "status": 201,
        "problem": None,
        "bytes": len(picture),
    }


def test_kinds(start: Start, picture: bytes) -> None:
    gateway = start(metrics=True)
    image_id = gateway.upload(picture)
    for method, path, expected in (
        ("POST", f"/v1/images/{image_id}/masks", "click"),
        ("POST", f"/v1/images/{image_id}/everything", "everything"),
        ("DELETE", f"/v1/images/{image_id}", "forget"),
        ("GET", "/health", "health"),
        ("GET", "/v1/openapi.json", "about"),
        ("GET", "/metrics", "metrics"),
        ("GET", f"/v1/{image_id}", "other"),
    ):
        answer = gateway.http.request(method, path)
        assert gateway.log.line_of(answer.headers["x-request-id"])["kind"] == expected


def test_no_line_has_what_is_nobody_elses(gateway: Gateway, picture: bytes) -> None:
    image_id = gateway.upload(picture)
    url = f"/v1/images/{image_id}/masks"
    headers = {"authorization": "Bearer my-secret", "cookie": "my-secret"}
    for prompt in (POINT, {"points": [[91.25, 9000]]}, {"secret-field": 1}):
        answer = gateway.http.post(url, json=prompt, headers=headers)
        gateway.log.line_of(answer.headers["x-request-id"])
    for secret in (image_id, "91.25", "secret", "127.0.0.1"):
        assert secret not in gateway.log.text


@pytest.mark.parametrize("given", ["mine-1.2_3", "x" * 64])
def test_ids_of_callers_go_to_the_server(
    gateway: Gateway, picture: bytes, server: FakeServer, given: str
) -> None:
    answer = gateway.http.post("/v1/images", content=picture, headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    assert server.requests[0].request_id == given


@pytest.mark.parametrize("given", ["", "x" * 65, 'x", "status": 200', "a b", "é", "\x1b[0m"])
def test_ids_that_could_be_something_else(gateway: Gateway, given: str) -> None:
    answer = gateway.http.get("/v1", headers={"x-request-id": given.encode()})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_traces_go_on(gateway: Gateway, picture: bytes, server: FakeServer) -> None:
    headers = {"traceparent": TRACE, "tracestate": "vendor=value"}
    gateway.http.post("/v1/images", content=picture, headers=headers)
    sent = server.requests[0].headers
    assert (sent["traceparent"], sent["tracestate"]) == (TRACE, "vendor=value")


@pytest.mark.parametrize(
    "parent", [f"00-{'0' * 32}-{'cd' * 8}-01", TRACE.upper(), TRACE[:-1], f"ff{TRACE[2:]}", "\xe9"]
)
def test_broken_traces_are_left_out(
    gateway: Gateway, picture: bytes, server: FakeServer, parent: str
) -> None:
    headers = {"traceparent": parent.encode("latin-1"), "tracestate": b"vendor=value"}
    assert gateway.http.post("/v1/images", content=picture, headers=headers).status_code == 201
    assert not {"traceparent", "tracestate"} & set(server.requests[0].headers)


def test_headers_for_the_server(start: Start, picture: bytes, server: FakeServer) -> None:
    gateway = start(headers={"authorization": "Bearer of-the-gateway"})
    headers = {"authorization": "Bearer of-the-caller", "traceparent": TRACE}
    gateway.http.post("/v1/images", content=picture, headers=headers)
    sent = server.requests[0].headers
    assert (sent["authorization"], sent["traceparent"]) == ("Bearer of-the-gateway", TRACE)


def test_no_answer_is_stored_or_guessed(gateway: Gateway) -> None:
    for path in ("/v1", "/nothing"):
        headers = gateway.http.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_metrics(start: Start, picture: bytes) -> None:
    gateway = start(metrics=True)
    for content in (picture, b"no picture"):
        answer = gateway.http.post("/v1/images", content=content)
        gateway.log.line_of(answer.headers["x-request-id"])  # it is counted before
    answer = gateway.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'slimsam_gateway_requests_total{kind="upload",status="201"} 1.0',
        'slimsam_gateway_requests_total{kind="upload",status="400"} 1.0',
        'slimsam_gateway_request_seconds_count{kind="upload"} 2.0',
        f'slimsam_gateway_received_bytes_total{{kind="upload"}} {len(picture) + 10:.1f}',
        "slimsam_gateway_active_requests 0.0",
    ):
        assert line in answer.text.splitlines()


def test_lines_that_nobody_reads(start: Start, picture: bytes) -> None:
    """A log that was closed ends no request."""
    gateway = start()
    gateway.log.close()
    gateway.upload(picture)


def test_lines_are_json_of_one_line(gateway: Gateway, picture: bytes) -> None:
    gateway.upload(picture)
    answer = gateway.http.get("/%0a%1b[31m", headers={"user-agent": "a\tb"})
    gateway.log.line_of(answer.headers["x-request-id"])
    assert [json.loads(line)["status"] for line in gateway.log.text.splitlines()] == [201, 404]
