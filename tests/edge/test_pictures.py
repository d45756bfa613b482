"""Requests on one picture come to one of several servers behind the edge, while it is alive."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from envoy_edge import Authorities, Edge, edge

from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.contract import AUTOMATIC, CLICK, ENCODER, IMAGE, IMAGE_KEY_HEADER
from slimsam_client.testing import FakeServer

PICTURES = 8
SETTINGS = GenerateSettings(points_per_side=2)


def picture(number: int) -> np.ndarray:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 20:40] = 255, number, 0
    return pixels


@pytest.fixture
def servers() -> Iterator[list[FakeServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeServer()) for _ in range(3)]


@pytest.fixture
def before_all(
    servers: list[FakeServer], authorities: Authorities, tmp_path: Any
) -> Iterator[Edge]:
    """An edge before three servers, whose limits of one subject are out of the way."""
    line = (
        "\n" + 18 * " " + "address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}"
    )
    endpoint = "- endpoint:" + line
    ports = [server.url.rpartition(":")[2] for server in servers]
    changes = {
        endpoint.format(ports[0]): ("\n" + 14 * " ").join(map(endpoint.format, ports)),
        "max_tokens: 40, tokens_per_fill: 20": "max_tokens: 10000, tokens_per_fill: 10000",
        "max_tokens: 1500, tokens_per_fill: 200": "max_tokens: 99999, tokens_per_fill: 99999",
    }
    with edge(authorities, servers[0].url, tmp_path, changes) as running:
        wait_for_all(servers, running, authorities)
        yield running


def wait_for_all(servers: list[FakeServer], running: Edge, authorities: Authorities) -> None:
    """Wait until all are in use; Envoy adds them one after the other."""
    deadline = time.monotonic() + 60
    with SlimSam(running.url, 60, tls=authorities.tls) as sam:
        for number in itertools.count():
            headers = {**authorities.headers("bob"), IMAGE_KEY_HEADER: str(number)}
            sam.with_options(headers=headers).embed(picture(0))
            if all(server.requests for server in servers):
                break
            assert time.monotonic() < deadline
    for server in servers:
        server.requests.clear()


def seen_by(server: FakeServer) -> set[Any]:
    """The keys of the pictures that a server was asked for."""
    return {
        request.headers.get(IMAGE_KEY_HEADER)
        for request in server.requests
        if request.model in (IMAGE.name, CLICK.name, AUTOMATIC.name)
    }


def test_a_pictures_requests_come_to_one_server_while_it_is_alive(
    servers: list[FakeServer],
    before_all: Edge,
    authorities: Authorities,
    connect: Callable[..., Any],
) -> None:
    settings = {"tls": authorities.tls, "headers": authorities.headers("ann")}
    sam, other = (connect(before_all.url, 60, **settings) for _ in range(2))
    images = [sam.upload(picture(number)) for number in range(PICTURES)]
    for image in images * 3:
        sam.predict(image, [(30, 20)])
        other.predict(image, [(30, 20)])
    for image in images:
        sam.generate(image, SETTINGS, on_server=True)
    sent = [request.model for server in servers for request in server.requests]
    assert sent.count(IMAGE.name) == PICTURES  # none had to be sent again
    seen = [seen_by(server) for server in servers]
    assert sorted(key for keys in seen for key in keys) == sorted(image.key for image in images)
    assert images[0].key == hashlib.sha256(images[0].content).hexdigest()[:16]

    # It dies: the next ones take its pictures over, of which none is lost to a caller.
    dying = max(range(3), key=lambda index: len(seen[index]))
    assert seen[dying]
    servers[dying].stop()
    lost = [image for image in images if image.key in seen[dying]]
    for image in lost:
        assert sam.predict(image, [(30, 20)]).masks.any()
    # Envoy has noticed: one after the other, what was lost is another's now.
    for server in servers:
        server.requests.clear()
    for image in images * 3:
        assert sam.predict(image, [(30, 20)]).masks.any()
    assert not servers[dying].requests
    left = [seen_by(server) for index, server in enumerate(servers) if index != dying]
    assert sorted(key for keys in left for key in keys) == sorted(image.key for image in images)
    # Hardly any picture of the living ones has moved; consistent hashing promises no more.
    before = [keys for index, keys in enumerate(seen) if index != dying]
    stayed = sum(len(early & late) for early, late in zip(before, left, strict=True))
    assert stayed >= (PICTURES - len(lost)) / 2


def test_what_is_of_no_kept_picture_goes_to_any(
    servers: list[FakeServer],
    before_all: Edge,
    authorities: Authorities,
    connect: Callable[..., Any],
) -> None:
    headers = authorities.headers("ann")
    sam = connect(before_all.url, 60, tls=authorities.tls, headers=headers)
    for _ in range(60):  # that all of them come to two of three: 1 in 10^10
        sam.embed(picture(1))
    for server in servers:
        asked = [request for request in server.requests if request.model == ENCODER.name]
        assert asked and all(IMAGE_KEY_HEADER not in request.headers for request in asked)


def test_a_users_own_key_goes_first(
    servers: list[FakeServer], authorities: Authorities, connect: Callable[..., Any]
) -> None:
    sam = connect(servers[0].url, headers={IMAGE_KEY_HEADER: "mine"})
    sam.predict(sam.upload(picture(1)), [(30, 20)])
    assert seen_by(servers[0]) == {"mine"}
