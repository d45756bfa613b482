"""A gateway on a real socket before a fake server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kept_port import kept_port
from running_gateway import PATIENCE, Gateway, drawn, encoded, serving

from slimsam_client.testing import FakeServer
from slimsam_gateway import GatewaySettings, health

Start = Callable[..., Gateway]


@pytest.fixture(autouse=True)
def patient_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that a busy machine holds up is a healthy one."""
    monkeypatch.setattr(health, "SECONDS", PATIENCE)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """It may be stopped, and started again at the same address."""
    with kept_port() as port, FakeServer(port) as fake:
        yield fake


@pytest.fixture
def start(server: FakeServer) -> Iterator[Start]:
    """Start a gateway before the fake server, with settings of its own."""
    with ExitStack() as stack:

        def begin(**settings: Any) -> Gateway:
            return stack.enter_context(serving(GatewaySettings(**{"url": server.url, **settings})))

        yield begin


@pytest.fixture
def gateway(start: Start) -> Gateway:
    return start()


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A red disc and a blue box, 320 x 240 pixels, as PNG."""
    return encoded(drawn())
