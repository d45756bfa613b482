"""Replicas, proxies, busy servers, broken connections, interrupts and the settings of all that."""

from __future__ import annotations

import asyncio
import decimal
import fractions
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from kept_port import kept_port
from patience import patiently
from poison import Poison
from raw_http2 import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    literal,
)
from tritonclient.grpc import service_pb2 as messages
from turns import wait_for_turns

from slimsam_client import (
    AccessDeniedError,
    BatchError,
    Embedding,
    GenerateSettings,
    ModelNotReadyError,
    RequestTimeoutError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    SettingsError,
    SlimSam,
)
from slimsam_client.cli import main
from slimsam_client.probes import probe_model
from slimsam_client.results import image_key
from slimsam_client.testing import FakeServer
from slimsam_client.transport import options, routes
from slimsam_client.transport.async_connection import AsyncConnection
from slimsam_client.transport.channel import channel_settings
from slimsam_client.transport.connection import Connection
from slimsam_client.transport.exchange import Attempt, Pause, Rpc
from slimsam_client.transport.options import RequestOptions
from slimsam_client.transport.proxies import proxy_of
from slimsam_client.transport.retries import REVIVAL_SECONDS, Breakages, should_retry
from slimsam_client.transport.routes import Routes, addresses_of, ranked
from slimsam_client.transport.sender import Sender
from slimsam_client.transport.status import Status, from_status

IMAGE = np.zeros((9, 9, 3), np.uint8)
EMBEDDING = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))
CLICK: dict[str, Any] = {"points": [[1, 1]]}
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
ENVOY = "upstream connect error or disconnect/reset before headers. reset reason:"


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """It may be stopped, and started again at the same address."""
    with kept_port() as port, FakeServer(port) as server:
        yield server


# Replicas


def test_an_address_of_several_servers_is_balanced(connect: Any, fake: FakeServer) -> None:
    with FakeServer() as other:
        sam = connect(f"ipv4:{fake.url},{other.url}", 60)
        assert sam.ready()
        wait_for_turns(sam, fake, other)
        sam.embed([IMAGE] * 12)
        assert fake.requests and other.requests
        assert len(fake.requests) + len(other.requests) == 12


def test_a_replica_that_is_away_does_not_matter(connect: Any, fake: FakeServer) -> None:
    with FakeServer() as other:
        sam = connect(f"ipv4:{other.url},{fake.url}", 60)
        wait_for_turns(sam, fake, other)
        other.stop()
        sam.embed([IMAGE] * 8)
        assert len(fake.requests) == 8


def test_pictures_are_spread_over_a_list_and_stay_when_it_changes() -> None:
    addresses = addresses_of("ipv4:" + ",".join(f"10.0.0.{last}:8001" for last in range(20)))
    pictures = [image_key(bytes([number % 256, number // 256])) for number in range(2000)]
    first = {picture: ranked(picture, addresses)[0] for picture in pictures}
    assert {picture: ranked(picture, addresses[::-1])[0] for picture in pictures} == first
    shares = Counter(first.values())  # 100 each; these bounds are five standard deviations
    assert len(shares) == 20 and 50 < min(shares.values()) <= max(shares.values()) < 150
    gone, *others = addresses
    for picture, address in first.items():
        expected = ranked(picture, addresses)[1] if address == gone else address
        assert ranked(picture, others)[0] == expected


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("ipv4:10.0.0.1:1,10.0.0.2:1,10.0.0.1:1", ["ipv4:10.0.0.1:1", "ipv4:10.0.0.2:1"]),
        ("ipv6:[::1]:1,[::2]:1", ["ipv6:[::1]:1", "ipv6:[::2]:1"]),
        ("ipv4:///10.0.0.1:1,10.0.0.2:1", ["ipv4:10.0.0.1:1", "ipv4:10.0.0.2:1"]),
        ("ipv4:10.0.0.1:1", []),
        ("dns:///sam:8001", []),
        ("localhost:8001", []),
    ],
)
def test_which_addresses_are_a_list(url: str, addresses: list[str]) -> None:
    assert addresses_of(url) == addresses


SILENCE = Status("DEADLINE_EXCEEDED", "")
REFUSED = Status("UNAVAILABLE", "failed to connect to all addresses")


def test_addresses_that_say_nothing_are_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "SILENT_SECONDS", 0.0)
    settings = channel_settings("ipv4:10.0.0.1:1,10.0.0.2:1,10.0.0.3:1", tls=False)
    known: Routes[str] = Routes(settings, lambda each: each.url)
    asked = Attempt("ModelInfer", b"", 0.0, image_key="0")
    own, second, third = known.of(asked)
    assert known.of(replace(asked, turn=1)) == [second, third, own]

    def ends(status: Status | None, meanwhile: Callable[[], None] = lambda: None) -> None:
        with suppress(Status), known.watching(own):
            meanwhile()
            if status is not None:
                raise status

    for sign in (None, Status("INTERNAL", "out of memory")):
        ends(SILENCE)
        assert known.of(asked) == [second, third, own]
        assert known.of(replace(asked, turn=2)) == [own, second, third]
        for no_sign in (REFUSED, Status("CANCELLED", "")):
            ends(no_sign)
            assert known.of(asked) == [second, third, own]
        ends(sign)
        assert known.of(asked) == [own, second, third]
    ends(SILENCE, meanwhile=lambda: ends(None))  # what took too long was the request's own work
    ends(REFUSED)
    assert known.of(asked) == [own, second, third]
    ends(SILENCE)
    monkeypatch.setattr(routes, "SILENT_AGAIN", 0.0)
    assert known.of(asked) == [own, second, third]
    monkeypatch.setattr(routes, "SILENT_AGAIN", 300.0)  # that was the one which looks
    assert known.of(asked) == [second, third, own]
    monkeypatch.setattr(routes, "SILENT_SECONDS", 300.0)
    ends(None)
    ends(SILENCE)  # of a request that had no time
    assert known.of(asked) == [own, second, third]


@pytest.mark.parametrize(
    ("status", "model", "turn"),
    [
        (REFUSED, "slimsam_image", 0),  # each of the list was tried
        (REFUSED, "slimsam_click", 0),
        (Status("UNAVAILABLE", "model is not ready"), "slimsam_click", 1),
        (Status("RESOURCE_EXHAUSTED", "too many requests"), "slimsam_image", 1),
        (Status("RESOURCE_EXHAUSTED", "too many requests"), "slimsam_automatic", 1),
        (Status("RESOURCE_EXHAUSTED", "too many requests"), "slimsam_click", 0),
    ],
)
def test_which_server_of_a_list_is_asked_next(status: Status, model: str, turn: int) -> None:
    sender = Sender("ipv4:10.0.0.1:1,10.0.0.2:1")
    sender.answered = True
    request = messages.ModelInferRequest(model_name=model)
    attempts = sender.call(Rpc("ModelInfer", request, True, image_key="0"), time.monotonic() + 60)
    first = next(attempts)
    again = attempts.throw(status)
    while isinstance(again, Pause):
        again = next(attempts)
    assert isinstance(first, Attempt) and (first.turn, again.turn) == (0, turn)


class Unclosable:
    """A channel that does not close, and the links that have it."""

    def __init__(self) -> None:
        self.closes = 0

    def close(self) -> list[Any]:
        return [SimpleNamespace(close=self._end)]

    def _end(self) -> None:
        self.closes += 1
        raise OSError("not now")


class AsyncUnclosable(Unclosable):
    async def _end(self) -> None:  # type: ignore[override]
        super()._end()


def test_all_channels_are_closed_whatever_one_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "ipv4:127.0.0.1:1,127.0.0.1:2"
    links = [Unclosable(), Unclosable()]
    connection = Connection(url, tls=False)
    monkeypatch.setattr(connection._routes, "all", lambda: links)
    with pytest.raises(OSError, match="not now"):
        connection.close(RequestOptions(60))
    assert [each.closes for each in links] == [1, 1]

    links = [AsyncUnclosable(), AsyncUnclosable()]
    other = AsyncConnection(url, tls=False)
    monkeypatch.setattr(other._routes, "all", lambda: links)
    with pytest.raises(OSError, match="not now"):
        asyncio.run(other.close(RequestOptions(60)))
    assert [each.closes for each in links] == [1, 1]


def test_shared_memory_is_of_one_server(connect: Any) -> None:
    with pytest.raises(SettingsError, match="shared_memory: expected an address of one server"):
        connect("ipv4:127.0.0.1:8001,127.0.0.1:8002", shared_memory=True)


# Proxies


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")


def test_no_proxy_leads_to_this_machine(connect: Any, fake: FakeServer, dead_proxy: None) -> None:
    connect(fake.url, 60).embed(IMAGE)
    connect(fake.url.replace("127.0.0.1", "localhost"), 60).embed(IMAGE)


def test_a_proxy_that_does_not_answer_is_named(connect: Any, dead_proxy: None) -> None:
    with pytest.raises(ServerUnavailableError) as error:
        connect("triton.example:8001", 20).embed(IMAGE)
    assert "behind the proxy 127.0.0.1:9 (http_proxy)" in str(error.value)
    assert "no_proxy" in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxied"),
    [
        ("triton.example:8001", "", True),
        ("triton.example:8001", "other.example, .example", False),
        ("triton.example:8001", "triton.example", False),
        ("dns:///triton.example:8001", "triton.example", False),
        ("10.1.2.3:8001", "10.0.0.0/8", False),
        ("10.1.2.3:8001", "192.168.0.0/16", True),
        ("ipv4:10.1.2.3:8001,10.1.2.4:8001", "", True),
        ("unix:/run/triton.sock", "", False),
        ("localhost:8001", "", False),
        ("[::1]:8001", "", False),
        ("127.0.0.9:8001", "", False),
    ],
)
def test_which_addresses_a_proxy_is_for(
    url: str, no_proxy: str, proxied: bool, dead_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", no_proxy)
    assert (proxy_of(url) is not None) == proxied


# Busy servers


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (UNAVAILABLE, "Exceeds maximum queue size"),
        (UNAVAILABLE, "Request timeout expired"),
        (EXHAUSTED, "too many requests"),
        (UNAVAILABLE, f"{ENVOY} overflow"),
        (UNAVAILABLE, "local_rate_limited"),
    ],
)
def test_a_full_queue_is_waited_for_and_named(
    status: grpc.StatusCode, said: str, connect: Any, fake: FakeServer
) -> None:
    sam = connect(fake.url, 60)
    fake.fail("slimsam_encoder", status, said, times=2)
    sam.embed(IMAGE)  # also by a client that has had no answer yet
    assert len(fake.requests) == 3
    fake.fail("slimsam_encoder", status, said, times=99)
    with pytest.raises(ServerBusyError, match=f"{said}; send fewer at once"):
        patiently(lambda seconds: sam.with_options(timeout=seconds).embed(IMAGE))


def reset_then_deny(listening: socket.socket) -> None:
    """Reset a connection's first stream without an error, and answer the next."""
    connection, _ = listening.accept()
    with connection, connection.makefile("rb") as received:
        received.read(len(PREFACE))
        connection.sendall(frame(SETTINGS, 0, 0, b""))
        streams: list[int] = []
        while len(head := received.read(9)) == 9:
            received.read(int.from_bytes(head[:3], "big"))
            kind, stream = head[3], int.from_bytes(head[5:], "big")
            if kind == SETTINGS and not head[4]:
                connection.sendall(frame(SETTINGS, 1, 0, b""))
            if kind != HEADERS:
                continue
            streams.append(stream)
            if len(streams) == 1:
                connection.sendall(frame(RST_STREAM, 0, stream, bytes(4)))
                continue
            answer = {":status": "200", "content-type": "application/grpc", "grpc-status": "7"}
            block = b"".join(literal(*header) for header in answer.items())
            connection.sendall(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))


def test_a_stream_that_a_proxy_sheds_is_sent_again(connect: Any) -> None:
    """As Envoy ends those that hold the most of its memory: without a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=reset_then_deny, args=(listening,), daemon=True).start()
        with pytest.raises(AccessDeniedError):
            connect(f"127.0.0.1:{listening.getsockname()[1]}", 60).embed(IMAGE)


def test_which_resets_are_of_a_busy_proxy() -> None:
    said = "Received RST_STREAM with error code {}"
    assert isinstance(from_status(Status("INTERNAL", said.format(0)), "a:1", True), ServerBusyError)
    for code in (1, 2, 10):
        assert not Status("INTERNAL", said.format(code)).is_transient


def test_a_message_over_a_limit_is_not_sent_again(connect: Any, fake: FakeServer) -> None:
    fake.fail("slimsam_encoder", EXHAUSTED, "Received message larger than max (9 vs. 4)")
    with pytest.raises(ServerError, match="larger than max"):
        connect(fake.url, 60).embed(IMAGE)
    assert len(fake.requests) == 1


# Broken connections


def test_a_request_that_ends_servers_ends_two(connect: Any, fake: FakeServer) -> None:
    sam = connect(fake.url, 120)
    sam.wait_until_ready()
    fake.delay("slimsam_encoder", 120, times=99)
    poison = Poison(fake)
    try:
        with pytest.raises(ServerUnavailableError, match="broke while the request was under way"):
            sam.embed(IMAGE)
    finally:
        poison.end()
    assert len(fake.requests) == 2


STUB_DIED = "Stub process 'slimsam_encoder_0_0' is not healthy."


STOPPING = "slimsam_encoder: Model slimsam_encoder - Error when running inference: Server not ready"


def test_a_model_that_asks_another_while_the_server_stops(connect: Any, fake: FakeServer) -> None:
    sam = connect(fake.url, 60)
    fake.fail("slimsam_encoder", grpc.StatusCode.INTERNAL, STOPPING, times=3)
    sam.embed(IMAGE)
    assert len(fake.requests) == 4


@pytest.mark.parametrize("said", [STUB_DIED, f"ServerError: slimsam_encoder: {STUB_DIED}"])
def test_a_request_whose_models_process_died_waits_for_another(
    said: str, connect: Any, fake: FakeServer
) -> None:
    sam = connect(fake.url, 60)
    fake.fail("slimsam_encoder", grpc.StatusCode.INTERNAL, said, times=3)
    sam.embed(IMAGE)
    assert len(fake.requests) == 4


def test_a_request_with_which_two_processes_died_is_not_sent_again(
    connect: Any, fake: FakeServer
) -> None:
    sam = connect(fake.url, 60)
    fake.fail("slimsam_encoder", grpc.StatusCode.INTERNAL, STUB_DIED)
    fake.fail("slimsam_encoder", grpc.StatusCode.UNAVAILABLE, "model not ready")
    fake.fail("slimsam_encoder", grpc.StatusCode.INTERNAL, STUB_DIED)
    with pytest.raises(ServerError, match="Stub process"):
        sam.embed(IMAGE)
    assert len(fake.requests) == 3


def test_a_model_whose_process_has_died_is_not_waited_for_long() -> None:
    died = Status("INTERNAL", STUB_DIED)
    breakages = Breakages(0)
    for now in (100, 105, 100 + REVIVAL_SECONDS):
        breakages.note(died, now)
        assert should_retry(died, breakages.count, answered=True)
    breakages.note(died, 101 + REVIVAL_SECONDS)
    assert not should_retry(died, breakages.count, answered=True)


def test_a_process_that_died_and_the_end_of_its_server_are_one_breakage() -> None:
    died, broke = Status("INTERNAL", STUB_DIED), Status("UNAVAILABLE", "Socket closed")
    breakages = Breakages(0)
    for status, count in ((died, 1), (broke, 1), (broke, 2)):
        breakages.note(status, 100)
        assert breakages.count == count


def test_a_probe_is_not_sent_again_when_the_models_process_died(fake: FakeServer) -> None:
    with SlimSam(fake.url, 60) as sam:
        fake.fail("slimsam_encoder", grpc.StatusCode.INTERNAL, STUB_DIED)
        with pytest.raises(ServerError, match="Stub process"):
            probe_model(sam, "slimsam_encoder", 60)
        assert len(fake.requests) == 1
        sam.embed(IMAGE)  # the client itself goes on as before


def test_a_connection_that_breaks_before_any_answer_is_made_once_more() -> None:
    broke = Status("UNAVAILABLE", "sendmsg: Broken pipe (32)")
    assert should_retry(broke, 1, answered=False) and not should_retry(broke, 2, answered=False)
    nobody = Status("UNAVAILABLE", "failed to connect to all addresses; last error: Broken pipe")
    assert not should_retry(nobody, 0, answered=False)


def test_a_server_that_is_away_for_long_is_waited_for(connect: Any, fake: FakeServer) -> None:
    sam = connect(fake.url, 60)
    sam.embed(IMAGE)
    fake.stop()
    again = threading.Timer(1.0, fake.start)
    again.start()
    sam.embed(IMAGE)
    again.join()
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("code", "said", "not_reached", "broke"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: Socket closed", 1, 0),
        ("UNAVAILABLE", "connections to all backends failing; last error: reset", 1, 0),
        ("UNAVAILABLE", "errors resolving a:1: [Domain name not found]", 1, 0),
        ("UNAVAILABLE", "DNS resolution failed for a:1", 1, 0),
        ("UNAVAILABLE", "Socket closed", 0, 1),
        ("UNAVAILABLE", "Stream removed (recvmsg:Connection reset by peer (104))", 0, 1),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer", 0, 1),
        ("UNAVAILABLE", "GOAWAY received; Error code: 2; Debug Text: Cancelling all calls", 0, 1),
        ("UNAVAILABLE", "keepalive watchdog timeout", 0, 1),
        ("UNAVAILABLE", f"{ENVOY} remote connection failure, transport failure reason: ...", 1, 0),
        ("UNAVAILABLE", "no healthy upstream", 1, 0),
        ("UNAVAILABLE", f"{ENVOY} connection termination", 0, 1),
        ("UNAVAILABLE", f"{ENVOY} remote reset", 0, 1),
        ("UNAVAILABLE", f"{ENVOY} overflow", 0, 0),
        ("UNAVAILABLE", "Request for unknown model: 'slimsam' is not ready", 0, 0),
        ("INTERNAL", "Socket closed", 0, 0),
    ],
)
def test_what_gRPC_says_of_connections(code: str, said: str, not_reached: int, broke: int) -> None:
    status = Status(code, said)
    assert (status.not_reached, status.broke) == (bool(not_reached), bool(broke))


def test_text_of_servers_is_short_and_harmless() -> None:
    error = from_status(Status("INTERNAL", "\x1b[31m" + "x" * 10_000 + "\r\n end"), "a:1", True)
    assert len(str(error)) < 700 and str(error).isprintable() and "end" in str(error)
    assert isinstance(
        from_status(Status("UNAVAILABLE", "loading"), "a:1", True), ModelNotReadyError
    )


# Interrupts

INTERRUPTED = """
import sys
import numpy as np
from slimsam_client import SlimSam

image = np.zeros((9, 9, 3), np.uint8)
sam = SlimSam(sys.argv[1], 300, concurrency=2)
for call in (
    lambda: sam.embed([image] * 6),
    lambda: sam.segment([image] * 6, points=[[(1, 1)]] * 6),
    lambda: sam.embed(image),
):
    sys.stdin.readline()
    try:
        call()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    sam.predict(sam.with_options(timeout=301).embed(image), points=[[1, 1]])
"""

LOCKED = """
import sys
import threading

entered = []
main = threading.get_ident()


class Condition(threading.Condition):
    def __enter__(self):
        if threading.get_ident() == main:
            entered.append(sys._getframe(1).f_globals["__name__"])
        return super().__enter__()


threading.Condition = Condition
import numpy as np
from slimsam_client import SlimSam

image = np.zeros((9, 9, 3), np.uint8)
with SlimSam(sys.argv[1], 60) as sam:
    entered.clear()  # of what is imported
    sam.predict(sam.embed(image), points=[[1, 1]])
    sam.segment([image] * 6, points=[[(1, 1)]] * 6)
    sam.predict(sam.upload(image), points=[[1, 1]])
    found = sorted(set(entered) - {"threading"})  # of threads that begin
print(found, "threading" in entered)
"""


def test_the_main_thread_takes_no_lock_that_an_interrupt_could_leave_taken(
    fake: FakeServer,
) -> None:
    """See `transport.threads`: an interrupt in `Condition.__enter__` would keep gRPC's for good."""
    done = subprocess.run(
        [sys.executable, "-c", LOCKED, fake.url],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "[] True\n"


@pytest.mark.skipif(os.name != "posix", reason="signals are Unix's")
def test_an_interrupt_cancels_what_is_under_way(fake: FakeServer) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, fake.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=1,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for count in (2, 2, 1):
            before = len(fake.requests)
            fake.delay("slimsam_encoder", 300, times=count)
            process.stdin.write("begin\n")
            wait_until(lambda: len(fake.requests) == before + count)  # noqa: B023
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            wait_until(lambda: len(fake.requests) == before + count + 2)  # noqa: B023
        assert process.wait(60) == 0
    wait_until(lambda: all(one.status for one in fake.requests))
    ends = [one.status is grpc.StatusCode.CANCELLED for one in fake.requests]
    assert ends == [True, True, False, False, True, True, False, False, True, False, False]


def wait_until(true: Any) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


# Everything mode's timeout


def test_everything_mode_on_the_server_has_a_timeout_of_its_own(
    connect: Any, fake: FakeServer
) -> None:
    sam, few = connect(fake.url, 0.8), GenerateSettings(points_per_side=1)
    fake.delay("slimsam_automatic", 1.5)
    sam.generate(IMAGE, few, on_server=True)
    fake.delay("slimsam_automatic", 30)
    with pytest.raises(RequestTimeoutError):
        sam.generate(IMAGE, few, on_server=True, timeout=0.5)
    fake.delay("slimsam_encoder", 30)
    with pytest.raises(RequestTimeoutError):
        sam.generate(IMAGE, on_server=False)


@pytest.mark.parametrize(
    ("own", "asked", "on_server", "expected"),
    [
        (30, None, True, 300),
        (900, None, True, 900),
        (30, 5, True, 5),
        (30, None, False, 30),
        (30, 5, False, 5),
    ],
)
def test_which_timeout_everything_mode_has(
    own: float, asked: float | None, on_server: bool, expected: float
) -> None:
    assert options.RequestOptions(own).for_generate(asked, on_server).timeout == expected


# Settings


@pytest.mark.parametrize(
    "seconds",
    [np.float32(5), np.int64(5), np.float16(5), decimal.Decimal(5), fractions.Fraction(5), 1e300],
)
def test_a_timeout_is_a_number_of_any_type(seconds: Any, connect: Any, fake: FakeServer) -> None:
    sam = connect(fake.url, seconds)
    sam.predict(EMBEDDING, **CLICK)
    sam.with_options(timeout=seconds).wait_until_ready(seconds)


@pytest.mark.parametrize(
    "seconds",
    [True, "5", b"5", [5], 5j, 0, -1, float("nan"), float("inf"), decimal.Decimal("sNaN")],
)
def test_what_is_no_timeout(seconds: Any, connect: Any, fake: FakeServer) -> None:
    sam = connect(fake.url)
    for use in (
        lambda: connect(fake.url, seconds),
        lambda: sam.with_options(timeout=seconds),
        lambda: sam.generate(IMAGE, timeout=seconds),
    ):
        with pytest.raises(SettingsError, match="timeout: expected seconds above 0"):
            use()
    if type(seconds) is int and seconds == 0:
        sam.wait_until_ready(seconds)  # looks once
    else:
        with pytest.raises(SettingsError, match="timeout: expected seconds from 0"):
            sam.wait_until_ready(seconds)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls": "ca.pem"}, "tls: expected True, False or Tls, got 'ca.pem'; name files with Tls"),
        ({"tls": None}, "tls: expected True, False or Tls"),
        ({"url": None}, "url: expected host:port .* got None"),
        ({"url": b"localhost:8001"}, "url: expected host:port"),
        ({"url": "a:1,b:2"}, "url: expected host:port"),
        ({"url": "ipv4:10.0.0.1:1,host:1"}, "numeric addresses of IPv4 .* got 'host:1' in "),
        ({"url": "ipv4:10.0.0.1:1,,10.0.0.2:1"}, "numeric addresses of IPv4 .* got '' in "),
        ({"url": "ipv4:10.0.0.1:80011"}, "numeric addresses of IPv4 .* got '10.0.0.1:80011'"),
        ({"url": "ipv4://10.0.0.1:1"}, "numeric addresses of IPv4"),
        ({"url": "ipv6:10.0.0.1:1"}, "numeric addresses of IPv6"),
        ({"url": "x" * 10_000}, r"url: expected host:port .{0,200}$"),
        ({"headers": {"trace-bin": "x"}}, "headers: expected names that gRPC leaves .*-bin"),
        ({"headers": {"Trace-Bin": "x"}}, "headers: expected names that gRPC leaves"),
        ({"headers": {"grpc-timeout": "1S"}}, "headers: expected names that gRPC leaves"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str, connect: Any) -> None:
    with pytest.raises(SettingsError, match=message):
        connect(**settings)


@pytest.mark.parametrize("request_id", ["", 7, b"one"])
def test_what_is_no_request_id(request_id: Any, connect: Any) -> None:
    with pytest.raises(SettingsError, match="request_id: expected text"):
        connect().with_options(request_id=request_id)


@pytest.mark.parametrize("header", ["trace-bin: x", "grpc-status: 0", "a b: x", "a: é", "token"])
def test_the_command_line_takes_the_same_headers(
    header: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["health", "--header", header])
    assert "argument --header: " in capsys.readouterr().err


def test_a_list_without_a_server_names_each_image(connect: Any) -> None:
    with pytest.raises(BatchError, match="2 of 2 images failed"):
        connect("127.0.0.1:1", 20).embed([IMAGE] * 2)
