"""A server behind the edge that ends, and one that is not there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from envoy_edge import Authorities, Edge, edge
from poison import Poison
from short_timeouts import assert_fails

from slimsam_client import ServerUnavailableError, SlimSam
from slimsam_client.contract import ENCODER
from slimsam_client.testing import FakeServer

IMAGE = np.zeros((9, 9, 3), np.uint8)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def before(
    fake: FakeServer, authorities: Authorities, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Edge]:
    with edge(authorities, fake.url, tmp_path_factory.mktemp("before")) as running:
        yield running


def test_a_server_that_ends(before: Edge, authorities: Authorities, fake: FakeServer) -> None:
    with SlimSam(before.url, 60, tls=authorities.tls, headers=authorities.headers("ann")) as sam:
        sam.wait_until_ready(60)
        fake.delay(ENCODER.name, 60, times=99)
        poison = Poison(fake)
        try:
            with pytest.raises(ServerUnavailableError, match="broke while the request was under"):
                sam.embed(IMAGE)
        finally:
            poison.end()
        assert len(fake.requests) == 2
        fake.stop()
        assert_fails(
            lambda seconds: sam.with_options(timeout=seconds).embed(IMAGE),
            ServerUnavailableError,
            "nothing answers; .*connection failure",
        )
        assert not sam.ready()
        with pytest.raises(ServerUnavailableError, match="nothing answers"):
            sam.wait_until_ready(0.1)
