"""A connection that a firewall or a balancer forgot is given up, by each client for itself."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest

from slimsam_client import (
    Embedding,
    RequestTimeoutError,
    ServerUnavailableError,
    SlimSam,
)
from slimsam_client.testing import FakeServer
from slimsam_client.transport import channel, links, session
from slimsam_client.transport.links import Links
from slimsam_client.transport.status import Status

EMBEDDING = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))
CLICK: dict[str, Any] = {"points": [[1, 1]]}
SILENCE = Status("DEADLINE_EXCEEDED", "")


class Relay:
    """TCP between clients and a server.

    Attributes:
        connections: how many were accepted.
    """

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._forgotten = threading.Event()
        self._sockets: list[socket.socket] = []
        self.connections = 0
        self.url = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        """Swallow what comes through connections of now, both ways; new ones work."""
        self._forgotten.set()
        self._forgotten = threading.Event()

    def close(self) -> None:
        for one in (self._listening, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    pumping = threading.Thread(
                        target=self._pump, args=(*pair, self._forgotten), daemon=True
                    )
                    pumping.start()

    def _pump(self, source: socket.socket, sink: socket.socket, forgotten: threading.Event) -> None:
        with suppress(OSError):
            while content := source.recv(2**16):
                if not forgotten.is_set():
                    sink.sendall(content)
            if not forgotten.is_set():
                sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def relay(fake: FakeServer) -> Iterator[Relay]:
    relay = Relay(fake.url)
    yield relay
    relay.close()


def assert_gives_up(sam: Any) -> None:
    """Two requests time out, the next is answered."""
    for _ in range(links.SILENT_REQUESTS):
        with pytest.raises((RequestTimeoutError, ServerUnavailableError)):
            sam.with_options(timeout=0.8).predict(EMBEDDING, **CLICK)
    sam.with_options(timeout=60).predict(EMBEDDING, **CLICK)


def test_a_forgotten_connection_is_replaced(connect: Any, relay: Relay) -> None:
    sam, other = connect(relay.url, 60), connect(relay.url, 60)
    for client in (sam, other):
        client.predict(EMBEDDING, **CLICK)
    assert relay.connections == 2
    relay.forget()
    assert_gives_up(sam)
    assert_gives_up(other)
    relay.forget()
    connect(relay.url, 60).predict(EMBEDDING, **CLICK)  # one that is made now has its own
    assert_gives_up(sam)


def test_looks_whether_it_is_ready_give_it_up_as_well(
    connect: Any, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "READY_TIMEOUT", 1.0)
    sam = connect(relay.url, 60)
    sam.wait_until_ready()
    relay.forget()
    sam.wait_until_ready(60)
    assert relay.connections >= 2  # a busy machine may need longer for a look at the new one, too


def test_requests_that_go_on_keep_a_channel_that_was_given_up(fake: FakeServer) -> None:
    fake.delay("slimsam_encoder", 2.5)
    with SlimSam(fake.url, 60) as sam:
        found: list[Embedding] = []
        slow = threading.Thread(target=lambda: found.append(sam.embed(np.zeros((9, 9, 3), "u1"))))
        slow.start()
        while not fake.requests:
            time.sleep(0.01)
        fake.delay("slimsam_decoder", 60, times=2)
        while len(fake.requests) < 3:  # on a busy machine one may end before it is sent
            with pytest.raises(RequestTimeoutError):
                sam.with_options(timeout=0.5).predict(EMBEDDING, **CLICK)
        sam.predict(EMBEDDING, **CLICK)
        slow.join(60)
        assert len(found) == 1


def end(pool: Links[Any], status: Status | None) -> list[Any]:
    """End a request in a status; give the channels that are to be closed then."""
    with suppress(Status), pool.request():
        if status is not None:
            raise of_grpc(status)
    return pool.ended()


def of_grpc(status: Status) -> grpc.RpcError:
    error = grpc.RpcError()
    error.code = lambda: grpc.StatusCode[status.code]
    error.details = lambda: status.details
    return error


def test_which_channels_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "SILENT_SECONDS", 0.0)
    made = iter(range(10))
    pool: Links[int] = Links(lambda: next(made), "localhost:1")
    for status in (SILENCE, None, SILENCE, Status("UNAVAILABLE", ""), SILENCE, None):
        assert end(pool, status) == []
    assert [end(pool, SILENCE), end(pool, SILENCE)] == [[], [0]]
    with pool.request() as going_on:
        assert going_on == 1
        assert [end(pool, SILENCE), end(pool, SILENCE)] == [[], []]
        with pool.request() as another:
            assert another == 2
    assert pool.ended() == [1]
    assert pool.close() == [2]


def test_short_timeouts_alone_do_not_give_a_channel_up() -> None:
    made = iter(range(10))
    pool: Links[int] = Links(lambda: next(made), "localhost:1")
    for _ in range(5):
        assert end(pool, SILENCE) == []


def test_no_server_minds_the_pings() -> None:
    arguments = dict(channel.channel_settings("localhost:8001", False).arguments)
    # gRPC's servers close connections with more pings than one in 300 s, Triton's too.
    assert arguments["grpc.keepalive_time_ms"] > 300_000
    assert "grpc.keepalive_permit_without_calls" not in arguments


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux")
def test_linux_gives_up_a_connection_that_is_not_acknowledged(
    connect: Any, fake: FakeServer
) -> None:
    sam = connect(fake.url)
    sam.predict(EMBEDDING, **CLICK)
    port = int(fake.url.rsplit(":", 1)[1])
    waits = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:
            # Also those of IPv6, through which gRPC reaches IPv4 as well.
            if one.family != socket.AF_UNIX and one.getpeername()[1] == port:
                waits.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    assert waits == [int(channel.ACKNOWLEDGE_SECONDS * 1000)]


def test_several_clients_have_a_connection_each(connect: Any, relay: Relay) -> None:
    for _ in range(3):
        connect(relay.url).predict(EMBEDDING, **CLICK)
    assert relay.connections == 3
