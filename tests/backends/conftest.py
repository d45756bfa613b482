"""Real tritonservers on Triton's own C++ backends, from the directory in SLIMSAM_BACKENDS.

Without it, these tests are left out: `make test-backends BACKENDS=DIR` runs them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.pipeline import export as export_graphs
from slimsam_build.repository import built_models
from slimsam_build.served_info import write_info
from slimsam_build.targets import find_target
from slimsam_build.versions import link_versions
from slimsam_client.contract import INFO
from slimsam_server import EmbeddedServer

BACKENDS = os.environ.get("SLIMSAM_BACKENDS")
collect_ignore_glob = [] if BACKENDS else ["test_*.py"]

TARGETS = ("openvino", "onnxruntime", "torchscript")
Serve = Callable[[str, str], EmbeddedServer]


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def backends() -> Path:
    return Path(str(BACKENDS))


@pytest.fixture(scope="session")
def checkpoint_of(request: pytest.FixtureRequest) -> Callable[[str], Checkpoint]:
    """Give the demo checkpoint, or one of SlimSAM-77's geometry."""

    @functools.cache
    def of(name: str) -> Checkpoint:
        if name == "demo":
            return load_checkpoint("demo")
        checkpoint: Checkpoint = request.getfixturevalue("slimsam_77_checkpoint")
        return checkpoint

    return of


@pytest.fixture(scope="session")
def exported(
    checkpoint_of: Callable[[str], Checkpoint], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """A repository of a checkpoint with a target's artifacts, exported once.

    They come without the gate: what it measures, these tests measure on the server.
    """
    from conftest import copy_repository

    repositories: dict[str, Path] = {}
    done: set[tuple[str, str]] = set()

    def export(name: str, target_name: str) -> Path:
        if name not in repositories:
            repositories[name] = copy_repository(tmp_path_factory.mktemp(name))
            link_versions(repositories[name], checkpoint_of(name).sha256, pytest.fail)
        repository = repositories[name]
        if (name, target_name) not in done:
            target, model = find_target(target_name, "fp32"), checkpoint_of(name).model
            folders = {spec: repository / spec.name / "1" for spec in built_models(repository)}
            for folder in folders.values():
                folder.mkdir(exist_ok=True)
            export_graphs(model, target, "fp32", folders)
            info = repository / INFO.name / "1"
            write_info(info, checkpoint_of(name), target, "fp32")
            done.add((name, target_name))
        return repository

    return export


@pytest.fixture(scope="session")
def serve_native(exported: Callable[[str, str], Path], backends: Path) -> Iterator[Serve]:
    """Serve a checkpoint for a target on Triton's own backend, once."""
    servers: dict[tuple[str, str], EmbeddedServer] = {}

    def serve(name: str, target_name: str) -> EmbeddedServer:
        key = (name, target_name)
        if key not in servers:
            server = EmbeddedServer(exported(*key), target_name, backends=backends)
            server.start()
            servers[key] = server
        return servers[key]

    yield serve
    for server in servers.values():
        server.stop()


@pytest.fixture
def server(serve_native: Serve, target: str) -> EmbeddedServer:
    """The demo checkpoint."""
    return serve_native("demo", target)
