"""What tests share: a checkpoint of SlimSAM-77's geometry, built repositories, real servers."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from references import stand_in_for_torchvision
from transformers import SamModel

from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.random_checkpoint import random_checkpoint
from slimsam_build.repository import build
from slimsam_client import AsyncSlimSam, SlimSam
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[1]

torch.set_grad_enabled(False)
# Shells start background jobs with Ctrl-C ignored, and what tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def demo_server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(demo_repository) as server:
        yield server


@pytest.fixture(scope="session")
def demo_model() -> SamModel:
    return load_checkpoint("demo").model


@pytest.fixture
def plain_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """What segment-anything and transformers' pipeline need of torchvision."""
    stand_in_for_torchvision(monkeypatch)


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


class Driven:
    """An asynchronous client whose methods are run to their end: a test of both clients fits it."""

    def __init__(self, sam: AsyncSlimSam, loop: asyncio.AbstractEventLoop) -> None:
        self._sam = sam
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._sam, name)
        if name == "with_options":
            return lambda **options: Driven(method(**options), self._loop)
        if not inspect.iscoroutinefunction(method):
            return method
        return lambda *args, **options: self._loop.run_until_complete(method(*args, **options))


Connect = Callable[..., Any]


@pytest.fixture(params=["SlimSam", "AsyncSlimSam"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Make a client of either kind, with `SlimSam`'s arguments; it is closed at the end."""
    with ExitStack() as stack:
        if request.param == "SlimSam":
            yield lambda *args, **settings: stack.enter_context(SlimSam(*args, **settings))
            return
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)

        def driven(*args: Any, **settings: Any) -> Driven:
            sam = AsyncSlimSam(*args, **settings)
            stack.callback(lambda: loop.run_until_complete(sam.close()))
            return Driven(sam, loop)

        yield driven
