"""`make demo`, and which checkpoint it serves where none is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import copy_repository

from slimsam_client import load_image


@pytest.fixture
def house(scene: Path, tmp_path: Path) -> Path:
    """A directory with the scripts of `make demo` and `make web`, without artifacts."""
    (tmp_path / "examples").mkdir()
    for name in ("scene.png", "artifacts.py", "demo.py", "web.py"):
        shutil.copy(scene.with_name(name), tmp_path / "examples")
    copy_repository(tmp_path / "model_repository")
    return tmp_path


def demo(house: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, house / "examples" / "demo.py", *map(str, arguments)],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("checkpoint", ["", "demo"])
def test_demo(
    checkpoint: str, demo_repository: Path, scene: Path, house: Path, tmp_path: Path
) -> None:
    """Beside a repository that is built; tests of `slimsam-build` build."""
    shutil.copytree(demo_repository, house / "model_repository", dirs_exist_ok=True, symlinks=True)
    done = demo(house, "--checkpoint", checkpoint, "--image", "")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("using the artifacts of demo in model_repository\n")
    assert ("CHECKPOINT=" in done.stdout) == (not checkpoint)
    pixels = load_image(scene)
    for name in ("click", "box", "refined"):
        assert f"demo-output/{name}.png\n" in done.stdout
        drawn = (load_image(tmp_path / "demo-output" / f"{name}.png") != pixels).any(axis=2)
        assert 0.01 < drawn.mean() < 0.3


class Hub(BaseHTTPRequestHandler):
    """A hub that has SlimSAM by name, and none of its files."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path.startswith("/api/models/") else 404)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_hub_that_answers_is_asked_for_slimsam(house: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever).start()
        done = demo(house, HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}", HF_HOME=str(house))
        hub.shutdown()
    assert Hub.asked[0] == "/api/models/nielsr/slimsam-77-uniform"
    assert any(path.endswith("/config.json") for path in Hub.asked)
    assert "building the model repository from nielsr/slimsam-77-uniform" in done.stdout
    assert done.returncode != 0 and "nielsr/slimsam-77-uniform" in done.stderr


@pytest.mark.parametrize(
    "variables", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}]
)
def test_without_a_hub_it_is_the_demo_checkpoint(
    variables: dict[str, str], house: Path, tmp_path: Path
) -> None:
    """Building it is left to a program that only says what it was asked for."""
    program = tmp_path / "bin" / "slimsam-build"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"; exit 7\n')
    program.chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    code = "import sys, artifacts; sys.executable = sys.argv[1]; artifacts.prepare(None)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bin" / "python"],
        cwd=house / "examples", env={**os.environ, **variables}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 7
    assert "from the demo checkpoint, which knows drawn scenes" in done.stdout
    assert "build --checkpoint demo --target openvino" in done.stdout
