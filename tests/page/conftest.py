"""Debian's chromium, a gateway, and whoever comes to its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from chromium import launched
from node_packages import installed
from page_pictures import drawn
from playwright.sync_api import Browser
from running_gateway import Gateway, encoded, serving
from visitor import Visitor

from slimsam_client import SlimSam
from slimsam_client.testing import FakeServer
from slimsam_gateway import GatewaySettings

Come = Callable[..., Visitor]


# Of the module: while playwright runs, its thread has an event loop, and tests elsewhere start one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as running:
        yield running


@pytest.fixture(scope="package")
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture(scope="package")
def gateway(server: FakeServer) -> Iterator[Gateway]:
    with serving(GatewaySettings(url=server.url, timeout=120.0)) as running:
        yield running


@pytest.fixture
def come(browser: Browser, gateway: Gateway) -> Iterator[Come]:
    """Come to a gateway's page, with settings of the browser's context; no script may fail."""
    with ExitStack() as stack:
        visitors = []

        def begin(to: Gateway = gateway, **settings: Any) -> Visitor:
            context = browser.new_context(
                **{"viewport": {"width": 1200, "height": 800}, **settings}
            )
            stack.callback(context.close)
            visitors.append(Visitor(context.new_page(), str(to.http.base_url)))
            return visitors[-1]

        yield begin
        for visitor in visitors:
            assert visitor.errors == []


@pytest.fixture
def visitor(come: Come) -> Visitor:
    return come()


@pytest.fixture
def sam(server: FakeServer) -> Iterator[SlimSam]:
    with SlimSam(server.url, 120) as client:
        yield client


@pytest.fixture(scope="session")
def picture() -> bytes:
    return encoded(drawn())


@pytest.fixture(scope="package")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `node/` names, installed."""
    return installed(Path(__file__).parent / "node", tmp_path_factory.mktemp("node"))
