"""Edges of deploy/envoy: as it is before the real server, and with small limits before a fake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from envoy_edge import Authorities, Edge, edge

from slimsam_client.testing import FakeServer
from slimsam_server import EmbeddedServer


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    return Authorities(tmp_path_factory.mktemp("authorities"))


@pytest.fixture(scope="session")
def real(
    authorities: Authorities,
    demo_server: EmbeddedServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Edge]:
    with edge(authorities, demo_server.grpc_url, tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module")
def small(
    authorities: Authorities, fake: FakeServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Edge]:
    """With limits that a test reaches at once."""
    changes = {
        "max_request_bytes: 33554432": "max_request_bytes: 2900000",  # a click, and no image
        "max_tokens: 40, tokens_per_fill: 20, fill_interval: 1s": (
            "max_tokens: 40, tokens_per_fill: 1, fill_interval: 86400s"
        ),
        "max_tokens: 1500, tokens_per_fill: 200, fill_interval: 1s": (
            "max_tokens: 44, tokens_per_fill: 1, fill_interval: 86400s"
        ),
        "priority: DEFAULT, max_requests: 32": "priority: DEFAULT, max_requests: 1",
        "max_connection_duration: 3600s": "max_connection_duration: 0.5s",
    }
    directory = tmp_path_factory.mktemp("small")
    with edge(authorities, fake.url, directory, changes) as running:
        yield running
