"""`slimsam-gateway` as it is installed."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import httpx2
import pytest
from running_gateway import wait_for

from slimsam_client.testing import FakeServer
from slimsam_client.version import __version__
from slimsam_gateway.cli import is_loopback
from slimsam_server.ports import free_port

COMMAND = str(Path(sys.executable).parent / "slimsam-gateway")


@contextmanager
def running(*arguments: object) -> Iterator[tuple[httpx2.Client, list[str]]]:
    """Run it, give a client and, after its end, the lines that it wrote; it must end well."""
    lines: list[str] = []
    with (
        subprocess.Popen(
            [COMMAND, "--port", "0", *map(str, arguments)], stdout=PIPE, stderr=PIPE, text=True
        ) as process,
        ThreadPoolExecutor(2) as readers,
    ):
        assert process.stdout is not None and process.stderr is not None
        try:
            output = readers.submit(process.stdout.read)
            listeners: list[str] = []
            for line in process.stderr:
                listeners += re.findall(r"running on (http://\S+)", line)
                if len(listeners) == 1 + ("--metrics-port" in arguments):
                    break
            else:
                raise AssertionError("it did not start")
            said = readers.submit(process.stderr.read)
            # A proxy of the environment is for none of the addresses of this machine.
            with httpx2.Client(base_url=listeners[-1], timeout=60, trust_env=False) as http:
                yield http, lines
            process.send_signal(signal.SIGINT)
            assert "Traceback" not in said.result(60)
            assert process.wait(60) == 0
            lines += output.result(60).splitlines()
        finally:
            process.kill()


def refused(*arguments: object) -> str:
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_it_serves_and_ends(server: FakeServer, picture: bytes) -> None:
    with running("--server", server.url, "--metrics", "--header", "x-tenant:me") as (http, lines):
        answer = http.post("/v1/images", content=picture)
        assert answer.status_code == 201
        assert http.get("/metrics").status_code == 200
        assert "server" not in answer.headers
    assert server.requests[0].headers["x-tenant"] == "me"
    written = [json.loads(line) for line in lines]
    assert [line["kind"] for line in written] == ["upload", "metrics"]


def test_options_become_settings(server: FakeServer, picture: bytes, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice {hashlib.sha256(b'key').hexdigest()}\n")
    options = ["--keys", keys, "--allow-host", "gateway.example", "--allow-origin"]
    options += ["https://app.example", "--max-image-bytes", 10, "--max-timeout", 40]
    with running("--server", server.url, *options) as (http, _):
        assert http.post("/v1/images", content=picture).status_code == 401
        http.headers.update({"authorization": "Bearer key", "host": "gateway.example"})
        assert http.post("/v1/images", content=picture).status_code == 413
        answer = http.post("/v1/images?timeout=41", headers={"origin": "https://app.example"})
        assert answer.status_code == 400 and "up to 40" in answer.text


def test_an_example_is_a_file(server: FakeServer, picture: bytes, tmp_path: Path) -> None:
    example = tmp_path / "a photo.png"
    example.write_bytes(picture)
    with running("--server", server.url, "--example", example) as (http, _):
        answer = http.get("/page/example", follow_redirects=True)
        assert (answer.url.path, answer.content) == ("/page/example/a photo.png", picture)
        assert answer.headers["content-type"] == "image/png"
    assert "example: expected a file that can be read" in refused("--example", tmp_path)


def test_beyond_loopback_with_keys_alone(server: FakeServer, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "gateway.example"):
        assert "--host: expected a loopback address without --keys" in refused("--host", host)
    keys = tmp_path / "keys"
    keys.write_text(f"alice {hashlib.sha256(b'key').hexdigest()}\n")
    with running("--server", server.url, "--host", "0.0.0.0", "--keys", keys) as (http, _):
        http.headers["host"] = "localhost"
        assert http.get("/v1").status_code == 200
        # The address for all interfaces is no name that anybody calls it by.
        assert http.get("/v1", headers={"host": "0.0.0.0"}).status_code == 421


def test_metrics_on_a_port_of_their_own(
    server: FakeServer, picture: bytes, tmp_path: Path, promtool: str
) -> None:
    """Prometheus asks by the machine's address, and has no key."""
    keys = tmp_path / "keys"
    keys.write_text(f"alice {hashlib.sha256(b'key').hexdigest()}\n")
    port = free_port()
    options = ["--host", "0.0.0.0", "--keys", keys, "--metrics-port", port]
    with running("--server", server.url, *options) as (http, lines):
        http.headers.update({"host": "localhost", "authorization": "Bearer key"})
        assert http.post("/v1/images", content=picture).status_code == 201
        assert http.get("/metrics").status_code == 404
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"host": f"192.0.2.1:{port}"},
            timeout=60,
            trust_env=False,
        ) as metrics:

            def text() -> str:
                answer = metrics.get("/metrics")
                assert answer.status_code == 200
                return answer.text

            counted = 'slimsam_gateway_requests_total{kind="upload",status="201"} 1.0'
            wait_for(lambda: counted in text())
            done = subprocess.run(
                [promtool, "check", "metrics"], input=text(), capture_output=True, text=True
            )
            assert done.returncode == 0, done
            for path in ("/", "/v1", "/health", "/page/main.js", "/metrics/"):
                assert metrics.get(path).status_code == 404
            assert metrics.post("/v1/images", content=picture).status_code == 404
            assert metrics.post("/metrics").status_code == 405
    # Who reads them is not counted, and writes no line.
    assert [json.loads(line)["kind"] for line in lines] == ["upload", "other"]


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example", "")))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--server", "localhost"], "url"),
        (["--port", "65536"], "--port"),
        (["--metrics-port", "http"], "--metrics-port"),
        (["--keys", "/nowhere"], "keys: expected a readable file"),
        (["--root-certificates", "/nowhere"], "root_certificates"),
        (["--allow-host", "http://a"], "hosts"),
        (["--allow-origin", "app.example"], "origins"),
        (["--max-requests", "0"], "--max-requests"),
        (["--max-active-bytes", "0"], "--max-active-bytes"),
        (["--timeout", "10", "--max-timeout", "5"], "max_timeout"),
        (["--header", "x"], "--header"),
        (["more"], "unrecognized arguments: more"),
    ],
)
def test_options_that_are_wrong(arguments: list[str], expected: str) -> None:
    line = refused(*arguments)
    assert line.startswith("slimsam-gateway: error: ") and expected in line


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_port_that_is_taken(gateway_port: int, option: str) -> None:
    done = subprocess.run(
        [COMMAND, "--port", "0", option, str(gateway_port)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "address already in use" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def gateway_port(gateway: object) -> int:
    port: int = gateway.address[1]  # type: ignore[attr-defined]
    return port


def test_version_and_help() -> None:
    for option, expected in (("--version", __version__), ("--help", "--allow-origin")):
        done = subprocess.run([COMMAND, option], capture_output=True, text=True, check=True)
        assert expected in done.stdout


def test_label_studio(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token comes by a file or by the environment."""
    options = ["--server", server.url, "--label-studio", "http://labels.example:8080"]
    monkeypatch.delenv("SLIMSAM_LABEL_STUDIO_TOKEN", raising=False)
    assert "Label Studio's token: expected" in refused(*options)
    assert "--label-studio beside them" in refused("--picture-origin", "https://bucket.example")
    token = tmp_path / "token"
    token.write_text("a-token\n")
    origins = ["--picture-origin", "https://a.example", "--private-picture-origin", "http://b:9000"]
    with running(*options, "--label-studio-token", token, *origins) as (http, _):
        assert http.get("/label-studio/health").json()["status"] == "UP"
    monkeypatch.setenv("SLIMSAM_LABEL_STUDIO_TOKEN", "a-token")
    with running(*options) as (http, lines):
        assert http.get("/label-studio/health").json()["status"] == "UP"
    assert [json.loads(line)["kind"] for line in lines] == ["label-studio"]
