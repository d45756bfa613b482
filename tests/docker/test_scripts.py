"""The scripts that the images run, run outside them on real servers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimsam_client import SlimSam
from slimsam_server.backend_directory import assemble
from slimsam_server.tritonserver import environment, wheel_directory

DOCKER = Path(__file__).parents[2] / "docker"
BIN = Path(sys.executable).parent


@pytest.fixture
def image(tmp_path: Path, empty_repository: Path) -> Path:
    """/opt/slimsam as the images have it."""
    directory = tmp_path / "opt"
    shutil.copytree(empty_repository, directory / "model_repository")
    for name in ("build.sh", "serve.sh", "health.py"):
        shutil.copy2(DOCKER / name, directory)
    return directory


def variables(**settings: str | Path) -> dict[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **{key: str(value) for key, value in settings.items()}}


def health(image: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, image / "health.py", url], capture_output=True, text=True, timeout=60
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_the_build_job_builds_once(image: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    settings = variables(
        SLIMSAM_MODELS=models, SLIMSAM_TARGET="openvino", SLIMSAM_CHECKPOINT="demo"
    )

    def build() -> str:
        done = subprocess.run(
            [image / "build.sh"], env=settings, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "installed" in build()
    again = build()
    assert "belong here" in again and "installed" not in again
    (models / "slimsam_decoder/1/model.bin").write_bytes(b"cut off")
    assert "installed" in build()


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        ({}, 1, "run the build job"),
        ({"SLIMSAM_ON_STALE": "ignore"}, 2, "expected refuse or rebuild, got ignore"),
        ({"SLIMSAM_TARGET": ""}, 1, "expected a target"),
    ],
    ids=["refused", "unknown", "no target"],
)
def test_a_server_that_does_not_start(
    image: Path, empty_repository: Path, settings: dict[str, str], status: int, message: str
) -> None:
    given = {"SLIMSAM_MODELS": empty_repository, "SLIMSAM_TARGET": "openvino", **settings}
    done = subprocess.run(
        [image / "serve.sh"], env=variables(**given), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status
    assert message in done.stderr.splitlines()[-1]


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_cpu_image_rebuilds_serves_and_is_checked(
    image: Path, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    settings = variables(
        SLIMSAM_MODELS=models,
        SLIMSAM_TARGET="openvino",
        SLIMSAM_CHECKPOINT="demo",
        SLIMSAM_ON_STALE="rebuild",
        SLIMSAM_EMBEDDED="1",
    )
    server = subprocess.Popen(
        [image / "serve.sh", "--grpc-port", "0", "--metrics-port", "0"],
        env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    processes.append(server)
    assert server.stdout is not None
    ready = next(line for line in server.stdout if line.startswith("ready: grpc "))
    url = ready.split()[2].rstrip(",")
    assert health(image, url).returncode == 0
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=20) == 0
    after = health(image, url)
    assert after.returncode == 1 and after.stderr.startswith("unhealthy: ")


def test_the_production_line_starts_a_real_tritonserver(
    image: Path, demo_repository: Path, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    """NVIDIA's image brings backends; here the wheel's binary is told where the stand-ins are."""
    backends = assemble(tmp_path / "backends")
    binary = wheel_directory() / "bin" / "tritonserver"
    wrapper = tmp_path / "bin" / "tritonserver"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {binary} --backend-directory={backends} "$@"\n')
    wrapper.chmod(0o755)
    ports = free_port(), free_port()
    settings = {**environment(2), "SLIMSAM_MODELS": str(demo_repository)}
    settings |= {"SLIMSAM_TARGET": "openvino", "SLIMSAM_ADMIN_KEY": "secret"}
    settings["PATH"] = f"{wrapper.parent}{os.pathsep}{BIN}{os.pathsep}{settings['PATH']}"
    server = subprocess.Popen(
        [
            *(image / "serve.sh", "--grpc-address=127.0.0.1", f"--grpc-port={ports[0]}"),
            *("--metrics-address=127.0.0.1", f"--metrics-port={ports[1]}"),
        ],
        env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    processes.append(server)
    url = f"127.0.0.1:{ports[0]}"
    with SlimSam(url, timeout=60) as sam:
        sam.wait_until_ready(60)
    assert health(image, url).returncode == 0
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=40) == 0
