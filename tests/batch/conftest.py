"""Pictures, detections, an object store, and workers of `slimsam batch`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_runs import ENVIRONMENT, make_bucket, wait_for
from PIL import Image

from slimsam_client import cli
from slimsam_client.testing import FakeServer
from slimsam_server.ports import free_port


@pytest.fixture(scope="session")
def moto() -> Iterator[int]:
    """A port at which moto stands in for S3, with the bucket `bucket`."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/moto-api/", process)
        make_bucket(port)
        yield port
    finally:
        process.kill()
        process.wait()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `slimsam batch` in this process; give its status and what it said."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main(["batch", *map(str, arguments)])
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def fake() -> Iterator[str]:
    """The address of a quick server, where what it answers is beside the point."""
    with FakeServer() as server:
        yield server.url


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six small pictures, in two folders, and what is none."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for number in range(6):
        place = folder / "below" if number % 2 else folder
        dice = np.random.default_rng(number)
        pixels = dice.integers(0, 256, (40 + number, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (folder / "notes.md").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture")
    return folder


def content_of(path: Path) -> Any:
    return json.loads(path.read_bytes())
