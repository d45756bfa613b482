"""Many large uploads at once: what the gateway's process holds of them is bounded."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx2
import pytest
import yaml
from running_gateway import (
    IDLE_MIB,
    PATIENCE,
    TIMES_HELD,
    Gateway,
    kind,
    most_mib,
    posting,
    wait_for,
)

from benchmarks.resident_memory import peak_mib, reset_peak, resident_mib
from slimsam_client.clicks.upload import MAX_BYTES
from slimsam_client.contract import IMAGE
from slimsam_client.testing import FakeServer
from slimsam_gateway import GatewaySettings
from slimsam_gateway.admission import SMALL_BYTES

from .conftest import Start

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).parent / "slimsam-gateway")
MEBIBYTE: Final = 2**20
ACTIVE: Final = 100 * MEBIBYTE
REFUSED: Final = 20
SLACK_MIB: Final = 40
"""For small requests beside large ones, and for what a process keeps."""


@contextmanager
def process(*arguments: object) -> Iterator[tuple[httpx2.Client, int]]:
    """Run the command; give a client of it, and its process id."""
    with subprocess.Popen(
        [COMMAND, "--port", "0", *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        try:
            assert command.stderr is not None
            address = next(
                filter(None, (re.search(r"running on (\S+)", s) for s in command.stderr))
            )
            with httpx2.Client(base_url=address[1], timeout=PATIENCE, trust_env=False) as http:
                yield http, command.pid
        finally:
            command.kill()
            command.communicate()


def begin(http: httpx2.Client, head: bytes, body: bytes = b"") -> tuple[socket.socket, bytes]:
    """Send a request's head, and what is given of its body; give what is answered first."""
    assert http.base_url.port is not None
    connection = socket.create_connection((http.base_url.host, http.base_url.port), PATIENCE)
    connection.sendall(head + body)
    return connection, connection.recv(2**16)


def test_many_large_uploads_at_once(server: FakeServer, picture: bytes) -> None:
    large = picture + bytes(MAX_BYTES - len(picture))
    head = posting("/v1/images?timeout=300", len(large), "Expect: 100-continue")
    options = ("--server", server.url, "--metrics", "--max-active-bytes", ACTIVE)
    with ExitStack() as stack, process(*options) as (http, pid):
        image_id = http.post("/v1/images", content=picture).json()["id"]
        assert http.post("/v1/images", content=large).status_code == 201
        reset_peak([pid])
        idle = resident_mib([pid])
        assert idle < IDLE_MIB
        fitting = ACTIVE // MAX_BYTES
        server.delay(IMAGE.name, 5 * PATIENCE, times=fitting)
        before = len(server.requests)
        waiting = []
        for _ in range(fitting):
            connection, answer = begin(http, head)
            waiting.append(stack.enter_context(connection))
            assert answer.startswith(b"HTTP/1.1 100 ")
        for _ in range(REFUSED):
            # They go on sending, though they have been told.
            connection, answer = begin(http, posting("/v1/images", len(large)), large[:MEBIBYTE])
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 2\r\n" in answer.lower()
            with connection, suppress(OSError):
                connection.sendall(large[MEBIBYTE:])
        for connection in waiting:
            connection.sendall(large)
        wait_for(lambda: len(server.requests) == before + fitting)
        # Nobody who sends little waits for them.
        prompt = {"points": [[90, 90]]}
        assert http.post(f"/v1/images/{image_id}/masks", json=prompt).status_code == 200
        photo = picture + bytes(SMALL_BYTES - len(picture))
        assert http.post("/v1/images", content=photo).status_code == 201
        assert active_bytes(http) == fitting * len(large)
        grown = peak_mib([pid]) - idle
        print(f"{idle:.0f} MiB and {grown:.0f} more, of {fitting} times {len(large):,} bytes")
        assert grown < TIMES_HELD * fitting * len(large) / MEBIBYTE + SLACK_MIB
        for connection in waiting:
            connection.close()
        wait_for(lambda: http.post("/v1/images", content=large).status_code == 201)
        # And nothing of it stays.
        wait_for(lambda: active_bytes(http) == 0 and resident_mib([pid]) < idle + SLACK_MIB)


def active_bytes(http: httpx2.Client) -> float:
    """What the gateway says that large requests have brought."""
    (found,) = re.findall(r"(?m)^slimsam_gateway_active_bytes (.+)$", http.get("/metrics").text)
    return float(found)


def test_a_container_has_room_for_what_is_let_in() -> None:
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    for name in ("gateway", "gateway-cpu"):
        limit = int(services[name]["mem_limit"].removesuffix("g")) * 1024
        assert most_mib(GatewaySettings()) < limit


@pytest.fixture
def narrow(start: Start) -> Gateway:
    return start(max_active_bytes=3 * MEBIBYTE, max_image_bytes=4 * MEBIBYTE, metrics=True)


def test_bodies_that_do_not_say_their_length(
    narrow: Gateway, server: FakeServer, picture: bytes
) -> None:
    """They count as the longest, and one that is alone is let in."""

    def chunked() -> Iterator[bytes]:
        yield picture

    server.delay(IMAGE.name, PATIENCE)
    body = picture + bytes(2 * MEBIBYTE - len(picture))
    with narrow.send(posting("/v1/images?timeout=60", len(body)) + body):
        wait_for(lambda: len(server.requests) == 1)
        assert kind(narrow.problem("POST", "/v1/images", content=chunked())) == "full"
        narrow.upload(picture)
    wait_for(lambda: narrow.http.post("/v1/images", content=chunked()).status_code == 201)


def test_what_is_too_large_is_told_so_however_much_is_under_way(
    narrow: Gateway, server: FakeServer, picture: bytes
) -> None:
    server.delay(IMAGE.name, PATIENCE)
    body = picture + bytes(3 * MEBIBYTE - len(picture))
    with narrow.send(posting("/v1/images?timeout=60", len(body)) + body):
        wait_for(lambda: len(server.requests) == 1)
        head = posting("/v1/images", 5 * MEBIBYTE, "Expect: 100-continue")
        with narrow.send(head) as connection:
            assert connection.recv(2**16).startswith(b"HTTP/1.1 413 ")


def test_bodies_that_never_come_hold_no_room(narrow: Gateway, picture: bytes) -> None:
    """Those who leave, and those who are too slow."""
    body = picture + bytes(2 * MEBIBYTE - len(picture))
    narrow.send(posting("/v1/images", len(body)) + b"some").close()
    with narrow.send(posting("/v1/images?timeout=0.3", len(body)) + b"some") as connection:
        # The first one's end may come later than this one.
        assert connection.recv(2**16).startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 503 "))
    wait_for(lambda: narrow.http.post("/v1/images", content=body).status_code == 201)
    wait_for(lambda: active_bytes(narrow.http) == 0)
