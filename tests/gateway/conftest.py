"""A gateway on a real socket before a fake server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from running_gateway import Gateway, drawn, encoded, serving

from slimsam_client.testing import FakeServer
from slimsam_gateway import GatewaySettings

Start = Callable[..., Gateway]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
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
