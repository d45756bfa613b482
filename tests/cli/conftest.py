"""The command as it is installed, and a server for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slimsam_client import GenerateSettings, SlimSam, cli
from slimsam_client.testing import FakeServer

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A real server's address; where the client alone is installed, that of a quick one."""
    if find_spec("slimsam_server"):
        yield request.getfixturevalue("demo_server").grpc_url
        return
    with FakeServer() as server:
        yield server.url


@pytest.fixture
def sam(url: str) -> Iterator[SlimSam]:
    with SlimSam(url, timeout=300) as client:
        yield client


def command_line(*arguments: object) -> list[str]:
    return [str(Path(sys.executable).parent / "slimsam"), *map(str, arguments)]


@pytest.fixture
def command(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Give the command line of `slimsam`; SLIMSAM_URL names the server."""
    monkeypatch.setenv("SLIMSAM_URL", url)
    return command_line


@pytest.fixture
def process() -> Callable[..., subprocess.Popen[str]]:
    """Start `slimsam` where no server, or a quick one, is enough; a shell may prepare it."""

    def start(
        *arguments: object, shell: str = 'exec "$@"', **options: Any
    ) -> subprocess.Popen[str]:
        line = ["sh", "-c", shell, "sh", *command_line(*arguments)]
        return subprocess.Popen(line, stdout=PIPE, stderr=PIPE, text=True, **options)

    return start


@pytest.fixture(scope="session")
def slimsam(url: str) -> Run:
    """Run `slimsam` to its end."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(*arguments),
            env={**os.environ, "SLIMSAM_URL": url}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


@pytest.fixture
def main(
    command: Callable[..., list[str]], quick: Callable[..., tuple[int, str, str]]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process, which is quicker; give its status and what it said."""
    return quick


@pytest.fixture
def quick(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The same where no server, or a quick one, is enough."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main(list(map(str, arguments)))
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def fake() -> Iterator[str]:
    """The address of a quick server, where what it answers is beside the point."""
    with FakeServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def settings() -> GenerateSettings:
    """A coarse grid; the demo checkpoint scores itself lower than SAM does."""
    return GenerateSettings(points_per_side=5, pred_iou_thresh=0.75, stability_score_thresh=0.85)


@pytest.fixture(scope="session")
def options(settings: GenerateSettings) -> tuple[object, ...]:
    """The same as options of the command."""
    return (
        "--points-per-side", settings.points_per_side,
        "--pred-iou-thresh", settings.pred_iou_thresh,
        "--stability-score-thresh", settings.stability_score_thresh,
    )  # fmt: skip


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four small pictures; two names differ in their ending alone."""
    folder = tmp_path_factory.mktemp("scenes")
    with Image.open(Path(__file__).parents[2] / "examples" / "scene.png") as opened:
        scene = opened.reduce(2)
    for number, name in enumerate(["a.jpg", "a.png", "b c.PNG", "d.webp"]):
        left = 85 * number
        scene.crop((left, 100, left + 256, 356 - 32 * number)).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("not an image")
    return folder


@pytest.fixture(scope="session")
def annotated(
    slimsam: Run,
    scenes: Path,
    options: tuple[object, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What the command wrote for that folder."""
    output = tmp_path_factory.mktemp("annotated") / "new"
    done = slimsam("everything", scenes, "-o", output, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return output


@pytest.fixture
def batch(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `slimsam batch` in this process; give its status and what it said."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main(["batch", *map(str, arguments)])
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return run


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
