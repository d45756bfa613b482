"""Whatever a server sends: an error of the client within its timeout, and no gigabytes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile_server
import numpy as np
import pytest

from slimsam_client import ContractError, Embedding, InvalidRequestError, SlimSamError

TIMEOUT = 1.0
ALLOWED = TIMEOUT + 1
ATTEMPTS = 5
"""So that other programs, which may hold this one up for a while, do not count."""
MAX_BYTES = 500 * 2**20
IMAGE = np.zeros((9, 9, 3), np.uint8)
EMBEDDING = Embedding(np.zeros((256, 64, 64), np.float16), (9, 9), (1024, 1024))


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    """The server's address."""
    process = subprocess.Popen(
        [sys.executable, hostile_server.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()  # requests may stall in it


@contextmanager
def bounded_memory() -> Iterator[None]:
    """No more memory than the limit."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def kilobytes(name: str) -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1])

    linux = os.access(reset, os.W_OK)
    if linux:
        reset.write_text("5")  # the peak begins anew
        before = kilobytes("VmRSS")
    yield
    if linux:
        assert (kilobytes("VmHWM") - before) * 1024 < MAX_BYTES


def assert_refused(act: Callable[[], object]) -> SlimSamError:
    """An error of the client in time, short and harmless to a terminal."""
    for _ in range(ATTEMPTS):
        start = time.monotonic()
        with bounded_memory(), pytest.raises(SlimSamError) as error:
            act()
        took = time.monotonic() - start
        assert len(str(error.value)) < 1500
        assert str(error.value).isprintable()
        if took < ALLOWED:
            return error.value
    pytest.fail(f"expected an error within {ALLOWED} s, the last of {ATTEMPTS} took {took:.1f} s")


@pytest.fixture
def client(connect: Any, hostile: str) -> Callable[[str], Any]:
    """A client that wants bad answers of a mode."""
    return lambda mode: connect(hostile, TIMEOUT, headers={"mode": mode})


def test_the_server_is_honest_without_a_mode(client: Callable[[str], Any]) -> None:
    sam = client("")
    sam.with_options(timeout=30).predict(EMBEDDING, points=[[1, 1]])
    sam.with_options(timeout=30).embed(IMAGE)
    assert len(sam.generate(IMAGE, on_server=True)) == 2


@pytest.mark.parametrize("mode", hostile_server.TO_A_CLICK)
def test_answers_to_a_click(mode: str, client: Callable[[str], Any]) -> None:
    assert_refused(lambda: client(mode).predict(EMBEDDING, points=[[1, 1]]))


@pytest.mark.parametrize("mode", [*hostile_server.EMBEDDINGS, *hostile_server.INFOS])
def test_answers_to_an_image(mode: str, client: Callable[[str], Any]) -> None:
    assert_refused(lambda: client(mode).embed(IMAGE))


@pytest.mark.parametrize("mode", ["another P", "half the side", "three masks", "NaN in masks"])
def test_answers_to_everything_mode_in_the_client(mode: str, client: Callable[[str], Any]) -> None:
    assert_refused(lambda: client(mode).generate(IMAGE, on_server=False))


@pytest.mark.parametrize("mode", [*hostile_server.RECORDS, *hostile_server.BODIES])
def test_answers_of_everything_mode(mode: str, client: Callable[[str], Any]) -> None:
    sam = client(mode)
    assert_refused(lambda: sam.generate(IMAGE, on_server=True, timeout=TIMEOUT))


def test_what_numbers_that_are_none_mean(client: Callable[[str], Any]) -> None:
    patient = client("NaN in masks").with_options(timeout=30)
    with pytest.raises(InvalidRequestError, match="low_res_masks .* answered NaN"):
        patient.predict(EMBEDDING, points=[[1, 1]])


def test_what_another_shape_means(client: Callable[[str], Any]) -> None:
    patient = client("another P").with_options(timeout=30)
    with pytest.raises(ContractError, match=r"FP16 \[1, 1, 4, 256, 256\], got FP16 \[1, 3, 4"):
        patient.predict(EMBEDDING, points=[[1, 1]])


def test_a_health_that_hangs(client: Callable[[str], Any]) -> None:
    sam = client("everything hangs")
    assert_refused(lambda: sam.wait_until_ready(1))


def test_bytes_that_are_no_message_to_every_call(connect: Any) -> None:
    with raw_http2(message(b"\xff" * 64)) as url:
        sam = connect(url, TIMEOUT)
        assert not sam.ready()
        assert_refused(sam.wait_until_ready)
        assert_refused(lambda: sam.predict(EMBEDDING, points=[[1, 1]]))
        assert_refused(lambda: sam.generate(IMAGE))


def test_a_compressed_answer_is_not_unpacked(connect: Any) -> None:
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(50)) + packer.flush()
    with raw_http2(message(packed, compressed=True)) as url:
        sam = connect(url, TIMEOUT)
        error = assert_refused(lambda: sam.predict(EMBEDDING, points=[[1, 1]]))
        assert isinstance(error, ContractError) and "compressed" in str(error)


def test_a_length_that_never_comes(connect: Any) -> None:
    with raw_http2(b"\0" + (1_500_000_000).to_bytes(4, "big") + bytes(100)) as url:
        sam = connect(url, TIMEOUT)
        assert_refused(lambda: sam.predict(EMBEDDING, points=[[1, 1]]))


@pytest.mark.parametrize("content", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\0" * 100, b"\xff" * 9000])
def test_what_speaks_another_protocol(content: bytes, connect: Any) -> None:
    with listener(lambda peer: peer.sendall(content)) as url:
        sam = connect(url, TIMEOUT)
        assert_refused(lambda: sam.predict(EMBEDDING, points=[[1, 1]]))


def message(body: bytes, compressed: bool = False) -> bytes:
    """A message of gRPC."""
    return bytes([compressed]) + len(body).to_bytes(4, "big") + body


def raw_http2(data: bytes) -> Any:
    """Answer each request of HTTP/2 with these bytes, as no server of gRPC would."""

    def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
        return (
            len(content).to_bytes(3, "big")
            + bytes([kind, flags])
            + stream.to_bytes(4, "big")
            + content
        )

    def literal(name: bytes, value: bytes) -> bytes:
        return bytes([0, len(name)]) + name + bytes([len(value)]) + value

    head = (
        b"\x88" + literal(b"content-type", b"application/grpc") + literal(b"grpc-encoding", b"gzip")
    )

    def read(peer: socket.socket, count: int) -> bytes:
        content = b""
        while len(content) < count:
            more = peer.recv(count - len(content))
            if not more:
                raise OSError("the client has gone")
            content += more
        return content

    def serve(peer: socket.socket) -> None:
        peer.sendall(frame(4, 0, 0, b""))  # SETTINGS
        read(peer, 24)  # the client's preface
        while True:
            header = read(peer, 9)
            read(peer, int.from_bytes(header[:3], "big"))
            kind, flags, stream = header[3], header[4], int.from_bytes(header[5:], "big")
            if kind == 4 and not flags & 1:
                peer.sendall(frame(4, 1, 0, b""))
            if kind == 1:  # HEADERS of a request
                peer.sendall(frame(1, 4, stream, head))
                for start in range(0, len(data), 16_000):
                    peer.sendall(frame(0, 0, stream, data[start : start + 16_000]))

    return listener(serve)


@contextmanager
def listener(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server of TCP: it serves each connection in a thread."""

    def attend(peer: socket.socket) -> None:
        with peer:
            try:
                serve(peer)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=attend, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)
