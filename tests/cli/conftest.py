"""The command as it is installed, and a server for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from slimsam_build.demo.scenes import draw_scene
from slimsam_client import GenerateSettings, SlimSam, cli
from slimsam_client.testing import FakeServer
from slimsam_server import EmbeddedServer

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def url(demo_server: EmbeddedServer) -> str:
    return demo_server.grpc_url


@pytest.fixture
def sam(url: str) -> Iterator[SlimSam]:
    with SlimSam(url, timeout=300) as client:
        yield client


@pytest.fixture(scope="session")
def command(url: str) -> Iterator[Callable[..., list[str]]]:
    """Give the command line of `slimsam`; SLIMSAM_URL names the server."""

    def line(*arguments: object) -> list[str]:
        return [str(Path(sys.executable).parent / "slimsam"), *map(str, arguments)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIMSAM_URL", url)
        yield line


@pytest.fixture(scope="session")
def slimsam(command: Callable[..., list[str]]) -> Run:
    """Run `slimsam` to its end."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture
def main(
    command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process, which is quicker; give its status and what it said."""

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
    for number, name in enumerate(["a.jpg", "a.png", "b c.PNG", "d.webp"]):
        picture = Image.fromarray(draw_scene(900200 + number, 256).image[: 256 - 32 * number])
        picture.save(folder / name)
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
