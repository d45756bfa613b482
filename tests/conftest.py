"""What tests share: a checkpoint of SlimSAM-77's geometry, built repositories, real servers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import SamModel

from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.random_checkpoint import random_checkpoint
from slimsam_build.repository import build
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[1]

torch.set_grad_enabled(False)


def copy_repository(directory: Path) -> Path:
    """Copy model_repository/ as it is committed, without artefacts that lie there."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "model_repository"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        target = directory / Path(name).relative_to("model_repository")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return directory


@pytest.fixture(scope="session")
def demo_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo checkpoint for openvino: small, so its servers start in seconds."""
    directory = copy_repository(tmp_path_factory.mktemp("demo"))
    build(load_checkpoint("demo"), "openvino", "fp32", directory)
    return directory


@pytest.fixture
def empty_repository(tmp_path: Path) -> Path:
    """A repository without artefacts."""
    return copy_repository(tmp_path / "model_repository")


@pytest.fixture(scope="session")
def slimsam_77() -> SamModel:
    """SlimSAM-77's geometry with random weights."""
    return random_checkpoint("slimsam-77")


@pytest.fixture(scope="session")
def slimsam_77_checkpoint(
    slimsam_77: SamModel, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """The same, saved in Hugging Face's format and loaded again."""
    directory = tmp_path_factory.mktemp("slimsam-77")
    slimsam_77.save_pretrained(directory)
    return load_checkpoint(str(directory))


@pytest.fixture(scope="session")
def built(
    slimsam_77_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Build a repository of SlimSAM-77's geometry for a target, once."""
    repository = copy_repository(tmp_path_factory.mktemp("repository"))
    done: set[str] = set()

    def for_target(target: str) -> Path:
        if target not in done:
            build(slimsam_77_checkpoint, target, "fp32", repository)
            done.add(target)
        return repository

    return for_target


@pytest.fixture(scope="session")
def serve(built: Callable[[str], Path]) -> Iterator[Callable[[str], EmbeddedServer]]:
    """Serve SlimSAM-77's geometry on a real tritonserver, once per target."""
    servers: dict[str, EmbeddedServer] = {}

    def for_target(target: str) -> EmbeddedServer:
        if target not in servers:
            server = EmbeddedServer(built(target), target)
            server.start()
            servers[target] = server
        return servers[target]

    yield for_target
    for server in servers.values():
        server.stop()
