"""Servers that a client's requests go to by turns."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from slimsam_client.testing import FakeServer

IMAGE = np.zeros((9, 9, 3), np.uint8)


def wait_for_turns(sam: Any, *servers: FakeServer) -> None:
    """Ask until each of some servers is connected to, and forget what they were asked.

    gRPC connects to all of a list at once, and does not wait for those that take longer.
    """
    end = time.monotonic() + 60
    for server in servers:
        server.requests.clear()
    while not all(server.requests for server in servers):
        assert time.monotonic() < end
        sam.embed(IMAGE)
    for server in servers:
        server.requests.clear()
