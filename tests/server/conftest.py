"""slimsam-serve as a process of a test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Serve = Callable[..., "subprocess.Popen[str]"]
COMMAND = [sys.executable, "-m", "slimsam_server.cli", "--grpc-port", "0", "--metrics-port", "0"]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where slimsam-serve has its temporary directory."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    return directory


@pytest.fixture
def start(demo_repository: Path, temporary: Path) -> Iterator[Serve]:
    """Run slimsam-serve where a proxy is set that answers nothing; it is killed at the end."""
    running: list[subprocess.Popen[str]] = []
    dead = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9")
    environment = {**os.environ, **dead, "no_proxy": "", "NO_PROXY": "", "TMPDIR": str(temporary)}

    def run(*options: str, shell: str = 'exec "$@"') -> subprocess.Popen[str]:
        command = [*COMMAND, "--model-repository", str(demo_repository), *options]
        process = subprocess.Popen(
            ["sh", "-c", shell, "sh", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)
