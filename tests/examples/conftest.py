"""A real server, and the examples as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slimsam_client import SlimSam, load_image
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def sam(demo_server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(demo_server.grpc_url, timeout=300) as client:
        yield client


@pytest.fixture(scope="session")
def scene() -> Path:
    return EXAMPLES / "scene.png"


@pytest.fixture(scope="session")
def scene_pixels(scene: Path) -> NDArray[np.uint8]:
    return load_image(scene)


@pytest.fixture
def run(demo_server: EmbeddedServer) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an example on the server; `--url` among its arguments names another one."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", EXAMPLES / name, *arguments]
        if "--url" not in command:
            command += ["--url", demo_server.grpc_url]
        return subprocess.run(
            list(map(str, command)), check=False, capture_output=True, text=True, timeout=300
        )

    return run
