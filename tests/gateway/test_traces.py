"""One click is one trace, from the caller through gateway and client into the real tritonserver."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from serve_script import serving

from slimsam_client.contract import AUTOMATIC, CLICK, DECODER

TESTS = Path(__file__).parents[1]
PICTURE = TESTS.parent / "examples" / "scene.png"
SECONDS = 20
TRIES = 4


@dataclass(frozen=True)
class Span:
    """A span: its ids in hexadecimal, that of its parent empty if it has none."""

    name: str
    trace: str
    id: str
    parent: str


class Collector(http.server.ThreadingHTTPServer):
    """Takes what Triton posts: OTLP over HTTP, in JSON.

    Attributes:
        spans: those that have come.
        services: the services that they say they are of.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[Span] = []
        self.services: set[str] = set()

    def take(self, content: Any) -> None:
        for resource in content["resourceSpans"]:
            for attribute in resource["resource"]["attributes"]:
                if attribute["key"] == "service.name":
                    self.services.add(attribute["value"]["stringValue"])
            for scope in resource["scopeSpans"]:
                for each in scope["spans"]:
                    ids = each["traceId"], each["spanId"], each.get("parentSpanId", "")
                    self.spans.append(Span(each["name"], *map(str.lower, ids)))


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert self.path == "/v1/traces" and isinstance(self.server, Collector)
        self.server.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def traced(
    collector: Collector, demo_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server that posts its spans; it has nothing to say of requests without a trace."""
    directory = tmp_path_factory.mktemp("traced")
    ignored = shutil.ignore_patterns(AUTOMATIC.name)
    shutil.copytree(demo_repository, directory / "models", symlinks=True, ignore=ignored)
    settings = (
        "mode=opentelemetry",
        "rate=0",
        "level=TIMESTAMPS",
        f"opentelemetry,url=http://127.0.0.1:{collector.server_port}/v1/traces",
        "opentelemetry,resource=service.name=slimsam",
        "opentelemetry,bsp_schedule_delay=200",
    )
    flags = [f"--trace-config={setting}" for setting in settings]
    with serving(directory, directory / "models", *flags) as server:
        server.wait_until_ready()
        yield server.url


def test_a_click_is_one_trace(traced: str, collector: Collector, tmp_path: Path) -> None:
    sent: set[str] = set()
    for _ in range(TRIES):
        ours = clicked(traced, tmp_path / "spans")
        assert len(ours) == 5, ours
        sent |= {span.trace for span in ours.values()}
        ways = (
            [ours["over HTTP"], ours["slimsam-gateway click"], ours["slimsam clicked"]],
            [ours["by the SDK"], ours["slimsam predict"]],
        )
        for way in ways:
            for caller, called in itertools.pairwise(way):
                assert (called.trace, called.parent) == (caller.trace, caller.id)
            assert way[0].parent == ""
        # Triton posts spans once: those of a post that waits for too long are lost.
        if all(arrived(collector, way[0].trace, CLICK.name, DECODER.name) for way in ways):
            break
    for way in ways:
        tritons = arrived(collector, way[0].trace, CLICK.name, DECODER.name)
        assert [span.parent for span in tritons].count(way[-1].id) >= 1, collector.spans
        known = {way[-1].id, *(span.id for span in tritons)}
        assert {span.parent for span in tritons} <= known
    assert collector.services == {"slimsam"}
    # No other request is in a trace: neither what starts the server asks, nor the uploads.
    assert {span.trace for span in collector.spans} <= sent


def clicked(url: str, lines: Path) -> dict[str, Span]:
    """Click by both ways in a process of its own; give its spans by their names."""
    script = Path(__file__).with_name("traced_clicks.py")
    subprocess.run(
        [sys.executable, script, PICTURE, url, lines],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        check=True,
    )
    ours = {}
    for line in lines.read_text().splitlines():
        span = json.loads(line)
        ids = span["context"]["trace_id"], span["context"]["span_id"], span["parent_id"] or ""
        ours[span["name"]] = Span(span["name"], *(each.removeprefix("0x") for each in ids))
    return ours


def arrived(collector: Collector, trace: str, *names: str) -> list[Span]:
    """Wait until Triton's spans of a trace are there, of these names among them; or give none."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = [span for span in collector.spans if span.trace == trace]
        if {span.name for span in found} >= set(names):
            return found
        time.sleep(0.05)
    return []
