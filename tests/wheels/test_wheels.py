"""The wheels install into empty environments, and the README's example runs there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
PINNED = ["--quiet", "--constraint", ROOT / "constraints.txt"]

ASKED = os.environ["SLIMSAM_PYTHONS"].split()


def declared(part: str) -> list[str]:
    """The Pythons that a distribution declares, of those that are asked for."""
    text = (ROOT / part / "pyproject.toml").read_text("utf-8")
    return [found for found in re.findall(r"Python :: (3\.\d+)", text) if found in ASKED]


@dataclass(frozen=True)
class Environment:
    """A virtual environment, empty but for what is installed into it.

    Attributes:
        directory: of the environment.
    """

    directory: Path

    def install(self, *requirements: object) -> None:
        """Install wheels and what they need, in the versions of constraints.txt."""
        self._pip("install", *PINNED, *requirements)

    def installed(self) -> set[str]:
        """The names of what is installed, none of which misses a requirement."""
        self._pip("check")
        return {found["name"] for found in json.loads(self._pip("list", "--format=json"))}

    def brings_cuda(self) -> bool:
        """Whether pip would take gigabytes of CUDA's libraries with PyTorch."""
        question = ["--dry-run", "--no-deps", "--ignore-installed", "--report=-", "torch"]
        (torch,) = json.loads(self._pip("install", *PINNED, *question))["install"]
        return "+cpu" not in torch["metadata"]["version"]

    def run(self, command: str, *arguments: object, cwd: Path) -> str:
        """Run one of its commands to its end, and give what it printed."""
        return output([self.directory / "bin" / command, *arguments], cwd)

    def _pip(self, *arguments: object) -> str:
        line = [*PIP, "--python", self.directory / "bin/python", *arguments]
        return output(line, self.directory)


def output(line: list[object], cwd: Path) -> str:
    words = [*map(str, line)]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Callable[[str], Environment]]:
    """Make an environment of a Python; it is removed at the end, for it is large."""
    directory = tmp_path / "environment"

    def of_python(version: str) -> Environment:
        python = output([ROOT / ".ci/python", version], tmp_path).strip()
        output([python, "-m", "venv", "--without-pip", directory], tmp_path)
        return Environment(directory)

    yield of_python
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of this tree, by the parts that they are of."""
    directory = tmp_path_factory.mktemp("wheels")
    for part in ("client", "build", "server", "gateway"):
        line = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", directory]
        output(line, ROOT / part)
    return {
        wheel.name.split("-")[0].removeprefix("slimsam_"): wheel for wheel in directory.iterdir()
    }


@pytest.fixture
def readme(tmp_path: Path) -> Callable[[Environment, str], None]:
    """Run the README's example in an environment, on a server."""

    def run(environment: Environment, url: str) -> None:
        examples = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"))
        (example,) = (code for code in examples if "draw_overlay" in code)
        assert "localhost:8001" in example
        with Image.open(ROOT / "examples/scene.png") as scene:
            scene.resize((960, 720)).save(tmp_path / "photo.jpg")
        environment.run("python", "-c", example.replace("localhost:8001", url), cwd=tmp_path)
        with Image.open(tmp_path / "mask.png") as mask:
            assert mask.size == (960, 720)

    return run


@contextmanager
def serving(environment: Environment, repository: Path, log: Path) -> Iterator[str]:
    """Run the environment's slimsam-serve, and give its address."""
    line = [environment.directory / "bin/slimsam-serve", "--model-repository", repository]
    with log.open("w") as errors:
        server = subprocess.Popen(
            [*map(str, line), "--grpc-port", "0", "--metrics-port", "0"],
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    assert server.stdout is not None
    try:
        ready = re.search(r"ready: grpc ([^,\s]+)", server.stdout.readline())
        assert ready, log.read_text()
        yield ready[1]
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
        server.stdout.close()


@pytest.mark.parametrize("version", declared("client"))
def test_the_client(
    version: str,
    wheels: dict[str, Path],
    environment: Callable[[str], Environment],
    readme: Callable[[Environment, str], None],
    demo_server: EmbeddedServer,
    tmp_path: Path,
) -> None:
    place = environment(version)
    place.install(wheels["client"])
    found = place.installed()
    assert "slimsam-client" in found and not {"torch", "pytest", "scipy"} & found
    readme(place, demo_server.grpc_url)
    report = place.run("slimsam", "health", "--json", "--url", demo_server.grpc_url, cwd=tmp_path)
    assert json.loads(report)


@pytest.mark.parametrize("version", declared("server"))
def test_the_server(
    version: str,
    wheels: dict[str, Path],
    environment: Callable[[str], Environment],
    readme: Callable[[Environment, str], None],
    demo_repository: Path,
    tmp_path: Path,
) -> None:
    place = environment(version)
    place.install(wheels["client"], f"{wheels['server']}[openvino]")
    assert "torch" not in place.installed()
    with serving(place, demo_repository, tmp_path / "log") as url:
        readme(place, url)
    # As in the server's image, which checks artifacts and builds none.
    place.install("--no-deps", wheels["build"])
    line = ("check", "--target", "openvino", "--model-repository", demo_repository)
    place.run("slimsam-build", *line, cwd=tmp_path)


@pytest.mark.parametrize("version", declared("gateway"))
def test_the_gateway(
    version: str,
    wheels: dict[str, Path],
    environment: Callable[[str], Environment],
    demo_server: EmbeddedServer,
    tmp_path: Path,
) -> None:
    place = environment(version)
    place.install(wheels["client"], wheels["gateway"])
    assert not {"torch", "pytest", "tqdm", "fastapi"} & place.installed()
    command = [place.directory / "bin/slimsam-gateway", "--server", demo_server.grpc_url]
    with subprocess.Popen(
        [*map(str, command), "--port", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            url = f"{running(process.stderr)}/health"
            with urllib.request.urlopen(url, timeout=60) as answer:
                assert json.load(answer)["healthy"]
        finally:
            process.terminate()


def running(lines: Iterable[str]) -> str:
    """The address that uvicorn names."""
    return next(found[1] for line in lines if (found := re.search(r"running on (\S+)", line)))


@pytest.mark.parametrize("version", declared("build"))
def test_the_build(
    version: str,
    wheels: dict[str, Path],
    environment: Callable[[str], Environment],
    empty_repository: Path,
    tmp_path: Path,
) -> None:
    place = environment(version)
    if place.brings_cuda():
        pytest.skip(
            f"PyTorch for Python {version} would come with gigabytes of CUDA: give pip an index of "
            "its CPU builds by PIP_EXTRA_INDEX_URL"
        )
    place.install(wheels["client"], wheels["build"])
    assert {"slimsam-build", "slimsam-client", "torch"} <= place.installed()
    line = ("--target", "openvino", "--model-repository", empty_repository)
    place.run("slimsam-build", "build", "--checkpoint", "demo", *line, cwd=tmp_path)
    place.run("slimsam-build", "check", *line, cwd=tmp_path)
