"""Retries, deadlines, headers, request ids and closing: both clients against a scripted server."""

from __future__ import annotations

import asyncio
import itertools
import socket
import statistics
import threading
import time
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from patience import patiently

from slimsam_client import (
    AccessDeniedError,
    Embedding,
    InvalidRequestError,
    ModelNotReadyError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    SettingsError,
    SlimSam,
)
from slimsam_client.calls import advance
from slimsam_client.transport import channel, retries
from slimsam_client.transport.async_connection import AsyncConnection
from slimsam_client.transport.connection import Connection
from slimsam_client.transport.exchange import Attempt, Attempts, Pause
from slimsam_client.transport.options import RequestOptions
from slimsam_client.transport.session import READY_TIMEOUT

IMAGE = np.full((1024, 1024, 3), 7, np.uint8)  # 3 MiB on the wire
EMBEDDING = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))
CLICK: dict[str, Any] = {"points": [[1, 1]]}
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_a_large_request_outlasts_an_unavailable_server(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    servicer.script["ModelInfer"] = [UNAVAILABLE] * 5  # as many as gRPC itself would send
    assert connect(url).embed(IMAGE).original_size == (1024, 1024)
    assert len(servicer.seen) == 6
    assert min(seen.size for seen in servicer.seen) > 3 * 2**20
    assert len({seen.request_id for seen in servicer.seen}) == 1
    arrivals = [seen.arrived for seen in servicer.seen]
    gaps = [after - before for before, after in itertools.pairwise(arrivals)]
    assert gaps[0] >= retries.INITIAL_BACKOFF / 2 and gaps[-1] >= 16 * retries.INITIAL_BACKOFF / 2


def test_pauses_grow_to_a_limit_and_are_jittered() -> None:
    drawn = [list(itertools.islice(retries.backoffs(), 12)) for _ in range(200)]
    assert max(map(max, drawn)) <= retries.MAX_BACKOFF
    medians = [statistics.median(column) for column in zip(*drawn, strict=True)]
    assert medians[:5] == sorted(medians[:5])
    assert max(medians[-4:]) < 1.2 * min(medians[-4:])
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 200 and max(column) > 1.5 * min(column)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.INTERNAL, ServerError),
        (grpc.StatusCode.ABORTED, ServerError),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, RequestTimeoutError),
        (grpc.StatusCode.CANCELLED, RequestCancelledError),
        (grpc.StatusCode.NOT_FOUND, ModelNotReadyError),
        (grpc.StatusCode.UNAUTHENTICATED, AccessDeniedError),
        (grpc.StatusCode.PERMISSION_DENIED, AccessDeniedError),
    ],
)
def test_other_failures_are_final(
    status: grpc.StatusCode, kind: type[Exception], connect: Any, scripted: Any
) -> None:
    servicer, url = scripted
    servicer.script["ModelInfer"] = [status] * 3
    with pytest.raises(kind):
        connect(url).embed(IMAGE)
    assert len(servicer.seen) == 1


def test_a_key_that_is_asked_for_is_not_waited_for(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    servicer.script["ModelInfer"] = [UNAVAILABLE] * 3
    servicer.said = "This protocol is restricted, expecting header 'triton-grpc-protocol-key'"
    with pytest.raises(AccessDeniedError, match="triton-grpc-protocol-key.*other headers"):
        connect(url).embed(IMAGE)
    assert len(servicer.seen) == 1


def test_triton_between_its_models_and_its_port(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    servicer.script["ModelInfer"] = [grpc.StatusCode.NOT_FOUND]
    servicer.said = "Request for unknown model: 'slimsam_encoder' has no available versions"
    connect(url).embed(IMAGE)
    assert len(servicer.seen) == 2


def test_retries_end_with_the_timeout(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    servicer.script["ModelInfer"] = [UNAVAILABLE] * 1000

    timeouts: list[float] = []

    def predict(seconds: float) -> None:
        timeouts.append(seconds)
        servicer.seen.clear()
        connect(url, timeout=seconds).predict(EMBEDDING, **CLICK)

    start = time.monotonic()
    with pytest.raises(ModelNotReadyError, match="as the script says"):
        patiently(predict)
    assert time.monotonic() - start < 120  # and not until the script has ended
    assert 2 <= len(servicer.seen) <= 66
    lefts = [seen.left for seen in servicer.seen]
    # gRPC rounds what it sends.
    assert lefts[0] < timeouts[-1] + 0.15 and lefts[-1] < lefts[0] - 0.05


def test_a_timeout_shorter_than_the_pause(
    connect: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, url = scripted
    servicer.script["ModelInfer"] = [UNAVAILABLE] * 1000
    monkeypatch.setattr(retries, "INITIAL_BACKOFF", 200.0)
    start = time.monotonic()
    with pytest.raises(ModelNotReadyError):
        connect(url, timeout=60.0).predict(EMBEDDING, **CLICK)
    assert time.monotonic() - start < 40  # it does not wait for what cannot come
    assert len(servicer.seen) == 1


def test_one_timeout_for_all_that_a_call_sends(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    servicer.metadata_seconds = 1.5
    sam = connect(url, timeout=20.0)
    sam.predict(EMBEDDING, **CLICK)  # asks for the model's description first
    again = time.monotonic()
    sam.predict(EMBEDDING, **CLICK)
    first, second = (seen.arrived + seen.left for seen in servicer.seen)
    # gRPC rounds up what it sends of a deadline, to a tenth here.
    assert first < servicer.described + 20.15
    assert second > again + 19.85


def test_a_server_that_answered_is_waited_for_by_every_call(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    sam = connect(url)
    servicer.script["ModelMetadata"] = [UNAVAILABLE]
    with pytest.raises(ModelNotReadyError):  # the first call of a client says so at once
        sam.embed(IMAGE)
    assert sam.ready()
    servicer.script["ModelMetadata"] = [UNAVAILABLE] * 2
    sam.embed(IMAGE)
    servicer.script["ModelReady"] = [UNAVAILABLE] * 2
    with pytest.raises(ServerError, match="UNKNOWN"):  # the script knows no everything mode
        sam.generate(IMAGE, on_server=True)
    servicer.script["ModelMetadata"] = [UNAVAILABLE]
    sam.predict(EMBEDDING, **CLICK)


def test_nobody_is_reported_at_once(connect: Any) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{bound.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=f"{url}: .*nothing answers"):
            connect(url).predict(EMBEDDING, **CLICK)
        assert time.monotonic() - start < 20  # and not the timeout of 30


def fill(full: socket.socket, sockets: ExitStack) -> None:
    """Connect to a listener that accepts nothing, until its kernel does not even answer."""
    for _ in range(10):
        waiting = sockets.enter_context(socket.socket())
        waiting.settimeout(0.5)
        try:
            waiting.connect(full.getsockname())
        except TimeoutError:
            return
    pytest.fail("expected the queue of connections to be full after ten")


def test_a_host_that_accepts_no_connection(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "CONNECT_SECONDS", 0.5)
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fill(full, sockets)
        start = time.monotonic()
        # A kernel with much to do resets some of these connections.
        said = "nothing answers|something closes each connection"
        with pytest.raises(ServerUnavailableError, match=said):
            connect(f"127.0.0.1:{full.getsockname()[1]}").predict(EMBEDDING, **CLICK)
        assert time.monotonic() - start < 20


def test_a_server_that_closes_its_health(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    servicer.script["ServerLive"] = [UNAVAILABLE] * 2
    servicer.said = "This protocol is restricted, expecting header 'triton-grpc-protocol-key'"
    sam = connect(url)
    assert not sam.ready()
    start = time.monotonic()
    with pytest.raises(AccessDeniedError, match="triton-grpc-protocol-key"):
        sam.wait_until_ready(60)
    assert time.monotonic() - start < 40
    sam.wait_until_ready(20)


def test_headers(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    sam = connect(url, headers={"Authorization": "Bearer one", "x-team": "blue"})
    sam.predict(EMBEDDING, **CLICK)
    sam.with_options(headers={"authorization": "Bearer two"}).predict(EMBEDDING, **CLICK)
    sam.with_options(timeout=90).predict(EMBEDDING, **CLICK)
    tokens = [seen.headers.get("authorization") for seen in servicer.seen]
    assert tokens == ["Bearer one", "Bearer two", "Bearer one"]
    assert [seen.headers.get("x-team") for seen in servicer.seen] == ["blue", None, "blue"]
    assert servicer.seen[2].left > 31  # the others' timeout is 30


def test_a_token_that_expires_is_fetched_for_every_attempt(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    tokens = map("Bearer {}".format, itertools.count())
    sam = connect(url, headers=lambda: {"authorization": next(tokens)})
    sam.predict(EMBEDDING, **CLICK)
    servicer.script["ModelInfer"] = [UNAVAILABLE] * 2
    sam.predict(EMBEDDING, **CLICK)
    sent = [seen.headers["authorization"] for seen in servicer.seen]
    assert len(sent) == len(set(sent)) == 4


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"authorization": "Bearer secret\n"}, "headers: authorization: .* newline"),
        ({"authorization": "Bearer sécret"}, "headers: authorization: expected printable ASCII"),
        ({"authorization": b"secret"}, "headers: authorization: expected printable ASCII"),
        ({"author ization": "secret"}, "expected names of letters.* got 'author ization'"),
        ({7: "secret"}, "expected names of letters.* got 7"),
        ("secret", "headers: expected a mapping of names to values, got str"),
        ({"X-Team": "a", "x-team": "b"}, "headers: expected each name once, .* got x-team twice"),
    ],
)
def test_headers_that_grpc_cannot_send(headers: Any, message: str, connect: Any) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        connect(headers=headers)
    assert "secret" not in str(error.value)
    with pytest.raises(SettingsError, match=message):
        connect(headers=lambda: headers).embed(IMAGE)


def test_request_ids(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    sam = connect(url)
    for _ in range(2):
        sam.predict(EMBEDDING, **CLICK)
    sam.with_options(request_id="order-17").predict(EMBEDDING, **CLICK)
    first, second, third = (seen.request_id for seen in servicer.seen)
    assert third == "order-17" and len(first) == 32 and first != second
    servicer.script["ModelInfer"] = [grpc.StatusCode.INTERNAL]
    with pytest.raises(ServerError, match=r"\(request order-18\)"):
        sam.with_options(request_id="order-18").predict(EMBEDDING, **CLICK)


def pausing(begun: threading.Event) -> Attempts[None]:
    """A request that the server has refused, and that waits to be sent again."""
    begun.set()
    yield Pause(3600)


def test_closing_ends_a_pause_between_attempts() -> None:
    connection, begun = Connection("localhost:1", False), threading.Event()
    ended: list[Exception] = []

    def run() -> None:
        try:
            connection.run(pausing(begun), RequestOptions(5))
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    begun.wait()
    connection.close(RequestOptions(5))
    thread.join(60)
    assert [type(error) for error in ended] == [RequestCancelledError]


def test_closing_ends_a_tasks_pause_between_attempts() -> None:
    async def main() -> None:
        connection, begun = AsyncConnection("localhost:1", False), threading.Event()
        running = asyncio.create_task(connection.run(pausing(begun), RequestOptions(5)))
        await asyncio.to_thread(begun.wait)
        await connection.close(RequestOptions(5))
        with pytest.raises(RequestCancelledError, match="expected an open client"):
            await asyncio.wait_for(running, 60)

    asyncio.run(main())


def test_whether_a_server_is_ready_is_asked_within_the_clients_timeout() -> None:
    for timeout, expected in ((0.5, 0.5), (30, READY_TIMEOUT)):
        sam = SlimSam("localhost:1", timeout=timeout)
        asked: list[float] = []

        def run(attempts: Attempts[Any], options: RequestOptions, asked: Any = asked) -> None:
            step = advance(attempts, None)
            assert isinstance(step, Attempt)
            asked.append(step.seconds_left())

        sam._connection.run = run  # type: ignore[assignment, method-assign]
        sam.ready()
        assert asked[0] <= expected


def test_a_closed_client_says_so(connect: Any, scripted: Any) -> None:
    _, url = scripted
    sam = connect(url)
    sam.predict(EMBEDDING, **CLICK)
    other = sam.with_options(timeout=5)
    other.close()
    other.close()
    for use in (
        lambda: sam.predict(EMBEDDING, **CLICK),
        lambda: sam.embed(IMAGE),
        lambda: sam.generate(IMAGE),
        lambda: other.segment(IMAGE, **CLICK),
        sam.ready,
        sam.wait_until_ready,
    ):
        with pytest.raises(RequestCancelledError, match="expected an open client.*make another"):
            use()
    never_used = connect(url)
    never_used.close()
    with pytest.raises(RequestCancelledError, match="expected an open client"):
        never_used.embed(IMAGE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 0}, "timeout: expected seconds above 0, got 0"),
        ({"timeout": -1.5}, "timeout: .* got -1.5"),
        ({"timeout": float("nan")}, "timeout: .* got nan"),
        ({"timeout": float("inf")}, "timeout: .* got inf"),
        ({"timeout": "30"}, "timeout: .* got '30'"),
        ({"timeout": None}, "timeout: .* got None"),
        ({"concurrency": 0}, "concurrency: expected an integer of at least 1, got 0"),
        ({"concurrency": 2.5}, "concurrency: .* got 2.5"),
        ({"shared_memory": "no"}, "shared_memory: expected True or False, got 'no'"),
        ({"url": "http://localhost:8001"}, "url: expected host:port .* got 'http://localhost"),
        ({"url": "localhost"}, "url: expected host:port"),
        ({"url": "localhost:8001/"}, "url: expected host:port"),
        ({"url": "localhost:80011"}, "url: expected host:port"),
        ({"url": ""}, "url: expected host:port"),
        ({"url": "1:2:3"}, "url: expected host:port"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str, connect: Any) -> None:
    with pytest.raises(SettingsError, match=message):
        connect(**settings)


@pytest.mark.parametrize("url", ["[::1]:8001", "my-triton.svc:443", "unix:/run/triton.sock"])
def test_addresses_that_grpc_takes(url: str, connect: Any) -> None:
    assert connect(url).url == url
