"""The real annotation tools, in the environments of the folder that SLIMSAM_TOOLS names; Firefox.

Without it, these tests are left out: `make test-tools` makes the environments and runs them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimsam_client import SlimSam
from slimsam_server import EmbeddedServer

TOOLS = os.environ.get("SLIMSAM_TOOLS")
collect_ignore_glob = [] if TOOLS else ["test_*.py"]


@pytest.fixture(scope="session")
def tools() -> Path:
    return Path(str(TOOLS))


@pytest.fixture(scope="session")
def sam(demo_server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(demo_server.grpc_url, timeout=300) as client:
        yield client
