"""What tests share: a checkpoint of SlimSAM-77's geometry, built repositories, real servers.

The client's tests run where it alone is installed, too (`make test-client`): nothing here imports
torch, slimsam-build or slimsam-server before a test asks for what needs them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from installed import require

from slimsam_client import AsyncSlimSam, SlimSam

if TYPE_CHECKING:
    from transformers import SamModel

    from slimsam_build.checkpoints import Checkpoint
    from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[1]

# Servers of tests are on this machine, to which no proxy leads.
os.environ["no_proxy"] = "127.0.0.1,localhost"
# Shells start background jobs with Ctrl-C ignored, and what tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def no_settings_left() -> Iterator[None]:
    """What a module sets in the environment, fixtures of the session included, ends with it."""

    def settings() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith("SLIMSAM_")}

    before = settings()
    yield
    assert settings() == before


@pytest.fixture(scope="session", autouse=True)
def no_gradients() -> None:
    """No test but those of training wants them."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_grad_enabled(False)


@pytest.fixture(scope="session", autouse=True)
def reference_answers() -> Iterator[None]:
    """The parity gate's reference is the slower half of a build; one answer is for all of them.

    And an artifact's time, which no test is about, is that of one run.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "slimsam_build.reference" in sys.modules:
            from reference_answers import keep_answers, time_once

            from slimsam_build.heap import keep_freed_memory

            keep_freed_memory()
            keep_answers(patch)
            time_once(patch)
        yield


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Prometheus's own, from the PATH, or out of Debian's package, which is fetched once."""
    if found := shutil.which("promtool"):
        return found
    from shared_builds import built_once

    def fetch(_: Path) -> None:
        line = ["make", ".promtool/ready"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"promtool is not installed, nor Debian's package to be had: {done.stderr}")

    built_once(tmp_path_factory, "promtool", fetch)  # by one of the processes that run tests
    return str(ROOT / ".promtool/usr/bin/promtool")


def copy_repository(directory: Path) -> Path:
    """Copy model_repository/ as it is committed, without artifacts that lie there."""
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
    """The demo checkpoint for openvino: small, so its servers start in seconds.

    Without the requests that warm models up, which take as long as the rest of a start, and with
    one instance of the models that compute. The servers of SlimSAM-77's geometry are as they are
    configured, and those of the images' scripts.
    """
    require("slimsam_build")
    from shared_builds import built_once

    from slimsam_build.checkpoints import load_checkpoint
    from slimsam_build.pipeline import build

    def make(directory: Path) -> None:
        build(load_checkpoint("demo"), "openvino", "fp32", copy_repository(directory))
        start_faster(*directory.glob("*/config.pbtxt"), *directory.glob("*/configs/*.pbtxt"))

    return built_once(tmp_path_factory, "demo", make)


def start_faster(*configs: Path) -> None:
    """Let models be ready without a request, and with one instance instead of two.

    An instance alone needs a queue without an end, or it idles between requests.
    """
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    for path in configs:
        config = text_format.Parse(path.read_text(), ModelConfig())
        config.ClearField("model_warmup")
        if config.name != "slimsam_automatic" and config.HasField("dynamic_batching"):
            config.dynamic_batching.Clear()
            for group in config.instance_group:
                group.count = 1
        path.write_text(text_format.MessageToString(config))


@pytest.fixture(scope="session")
def demo_torchscript(
    demo_repository: Path, demo_model: SamModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same with artifacts for torchscript, too: without the parity gate, which takes longer."""
    from shared_builds import built_once

    from slimsam_build.pipeline import export
    from slimsam_build.repository import built_models
    from slimsam_build.targets import find_target
    from slimsam_client.contract import INFO

    def make(directory: Path) -> None:
        shutil.copytree(demo_repository, directory, symlinks=True)
        folders = {spec: directory / spec.name / "1" for spec in built_models(directory)}
        export(demo_model, find_target("torchscript", "fp32"), "fp32", folders)
        # By its digest pictures are kept; what slimsam_info hands out needs the answer, too.
        info = directory / INFO.name / "1"
        shutil.copy(info / "openvino.json", info / "torchscript.json")

    return built_once(tmp_path_factory, "torchscript", make)


@pytest.fixture(scope="session")
def demo_aoti(
    demo_torchscript: Path, demo_model: SamModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same with packages for torch_aoti, too: compiled once, for they take most of a minute."""
    from shared_builds import built_once

    from slimsam_build.pipeline import export
    from slimsam_build.repository import built_models
    from slimsam_build.targets import find_target
    from slimsam_client.contract import INFO

    def make(directory: Path) -> None:
        shutil.copytree(demo_torchscript, directory, symlinks=True)
        folders = {spec: directory / spec.name / "1" for spec in built_models(directory)}
        export(demo_model, find_target("torch_aoti", "fp32"), "fp32", folders)
        info = directory / INFO.name / "1"
        shutil.copy(info / "openvino.json", info / "torch_aoti.json")

    return built_once(tmp_path_factory, "torch_aoti", make)


@pytest.fixture(scope="session")
def demo_server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    require("slimsam_server")
    from slimsam_server import EmbeddedServer

    with EmbeddedServer(demo_repository) as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[int]:
    """A port at which moto stands in for S3, with the bucket `bucket`."""
    require("moto", "boto3", "s3fs", "slimsam_server")
    from batch_runs import ENVIRONMENT, make_bucket, wait_for

    from slimsam_server.ports import hold_free_port

    held = hold_free_port()
    port = held.getsockname()[1]
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
        held.close()


@pytest.fixture(scope="session")
def demo_model() -> SamModel:
    require("slimsam_build")
    from slimsam_build.checkpoints import load_checkpoint

    return load_checkpoint("demo").model


@pytest.fixture
def plain_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """What segment-anything and transformers' pipeline need of torchvision."""
    require("torch", "transformers")
    from references import stand_in_for_torchvision

    stand_in_for_torchvision(monkeypatch)


@pytest.fixture
def empty_repository(tmp_path: Path) -> Path:
    """A repository without artifacts."""
    return copy_repository(tmp_path / "model_repository")


@pytest.fixture(scope="session")
def slimsam_77() -> SamModel:
    """SlimSAM-77's geometry with random weights."""
    require("slimsam_build")
    from slimsam_build.random_checkpoint import random_checkpoint

    return random_checkpoint("slimsam-77")


@pytest.fixture(scope="session")
def slimsam_77_checkpoint(
    slimsam_77: SamModel, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """The same, saved in Hugging Face's format and loaded again."""
    from slimsam_build.checkpoints import load_checkpoint

    directory = tmp_path_factory.mktemp("slimsam-77")
    slimsam_77.save_pretrained(directory)
    return load_checkpoint(str(directory))


@pytest.fixture(scope="session")
def built(
    slimsam_77_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Build a repository of SlimSAM-77's geometry for a target, once."""
    from shared_builds import built_once

    from slimsam_build.pipeline import build

    def for_target(target: str) -> Path:
        def make(directory: Path) -> None:
            if not directory.exists():
                copy_repository(directory)
            build(slimsam_77_checkpoint, target, "fp32", directory)

        return built_once(tmp_path_factory, "slimsam-77", make, target)

    return for_target


@pytest.fixture(scope="module")
def serve(built: Callable[[str], Path]) -> Iterator[Callable[[str], EmbeddedServer]]:
    """Serve SlimSAM-77's geometry on a real tritonserver, once per target of a module.

    Not of a session: each takes gigabytes, and others go on beside it.
    """
    require("slimsam_server")
    from slimsam_server import EmbeddedServer

    with ExitStack() as stack:
        servers: dict[str, EmbeddedServer] = {}

        def for_target(target: str) -> EmbeddedServer:
            if target not in servers:
                servers[target] = stack.enter_context(EmbeddedServer(built(target), target))
            return servers[target]

        yield for_target


@pytest.fixture(scope="session")
def load_example() -> Callable[[str], ModuleType]:
    """Import an example's module."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / "examples" / name)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


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
