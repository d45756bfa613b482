"""`slimsam everything` on a folder: what it writes, skips, and survives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from PIL import Image

from slimsam_client import GenerateSettings, MaskRecord, SlimSam
from slimsam_client.cli import everything
from slimsam_client.cli.annotate import Job, Outcome, annotate_folder
from slimsam_client.cli.folder import Folder
from slimsam_client.contract import AUTOMATIC
from slimsam_client.testing import FakeServer

NAMES = ["a.jpg", "a.png", "b c.PNG", "d.webp"]
FEW = ("--points-per-side", 4)
NOWHERE = ("--url", "127.0.0.1:1")
LONG = 200.0  # seconds; no test waits for them

Run = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[..., tuple[int, str, str]]


def written(output: Path) -> dict[str, int]:
    """Every file below a folder, and when it was written."""
    return {
        path.relative_to(output).as_posix(): path.stat().st_mtime_ns
        for path in output.rglob("*")
        if path.is_file()
    }


def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def whole(output: Path) -> set[str]:
    """Names of the finished images; every file must be whole."""
    finished = set()
    for path in output.rglob("*"):
        if path.suffix == ".json":
            content = content_of(path)
            assert f"{content['image']}.json" == path.relative_to(output).as_posix()
            assert path.with_name(path.name.removesuffix(".json") + ".overlay.png").exists()
            finished.add(content["image"])
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
    return finished


@pytest.fixture
def again(annotated: Path, tmp_path: Path) -> Path:
    """A copy of what was written, to change."""
    return shutil.copytree(annotated, tmp_path / "again")


def test_each_image_has_its_records_and_picture(
    annotated: Path, scenes: Path, sam: SlimSam, settings: GenerateSettings
) -> None:
    results = [f"{name}.{kind}" for name in NAMES for kind in ("json", "overlay.png")]
    assert sorted(written(annotated)) == sorted([*results, "contact-sheet.png"])
    for name in NAMES:
        content = content_of(annotated / f"{name}.json")
        records = sam.generate(scenes / name, settings)
        assert content["image"] == name
        assert content["records"] == [record.as_dict("coco_rle") for record in records]
        with Image.open(annotated / f"{name}.overlay.png") as drawn:
            with Image.open(scenes / name) as picture:
                assert drawn.size == picture.size == (content["width"], content["height"])
    assert any(content_of(annotated / f"{name}.json")["records"] for name in NAMES)


def test_finished_images_are_skipped(
    slimsam: Run, scenes: Path, again: Path, options: tuple[object, ...]
) -> None:
    before = written(again)
    done = slimsam("everything", scenes, "-o", again, *options, "--json", *NOWHERE)
    assert done.returncode == 0, done.stderr  # nothing had to be asked
    assert json.loads(done.stdout) == {"annotated": [], "skipped": NAMES, "failed": {}}
    del before["contact-sheet.png"]
    assert before.items() <= written(again).items()


def test_what_has_changed_is_done_again(
    slimsam: Run, scenes: Path, again: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    source = shutil.copytree(scenes, tmp_path / "source")
    shutil.copy(scenes / "a.jpg", source / "d.webp")  # another picture of the same name
    (again / "a.png.json").write_bytes((again / "a.png.json").read_bytes()[:-5])  # damaged
    (again / "a.jpg.overlay.png").unlink()
    done = slimsam("everything", source, "-o", again, *options, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["annotated"], said["skipped"]) == (["a.png", "d.webp"], ["a.jpg", "b c.PNG"])
    assert whole(again) == set(NAMES)
    first, last = (
        json.loads((again / f"{name}.json").read_bytes()) for name in ("a.jpg", "d.webp")
    )
    assert first["records"] == last["records"]
    # Other settings: all anew; and no picture is left that shows the old records.
    done = slimsam(
        "everything", source, "-o", again, *options, "--box-nms-thresh", 0.5, "--no-pictures",
        "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["annotated"] == NAMES
    assert not list(again.glob("*.png"))


def test_a_damaged_overlay_is_named(
    main: Main, scenes: Path, again: Path, options: tuple[object, ...]
) -> None:
    overlay = again / "a.png.overlay.png"
    for damaged in (b"no picture", overlay.read_bytes()[:2000]):
        overlay.write_bytes(damaged)
        status, out, said = main("everything", scenes, "-o", again, *options, *NOWHERE)
        assert (status, out) == (2, "")
        assert said.startswith(f"slimsam: error: {overlay}: expected ")


def test_images_that_fail_are_listed(main: Main, fake: str, scenes: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    (source / "broken.jpg").write_bytes((scenes / "a.jpg").read_bytes()[:2000])
    (source / "none.png").write_text("no image")
    os.mkfifo(source / "pipe.png")  # no image, and nobody writes to it
    shutil.copy(scenes / "a.png", source / "z.png")
    arguments = ("everything", source, "-o", output, *FEW, "--url", fake)
    status, out, said = main(*arguments)
    assert status == 1
    assert out.startswith("1 images annotated, 0 were finished before, 2 failed")
    first, second = said.splitlines()
    assert first.startswith("slimsam: failed: broken.jpg: expected a whole image")
    assert second.startswith("slimsam: failed: none.png: expected an image that Pillow reads")
    assert whole(output) == {"z.png"}
    status, out, _ = main(*arguments, "--json")
    assert status == 1
    answer = json.loads(out)
    assert answer["skipped"] == ["z.png"] and list(answer["failed"]) == ["broken.jpg", "none.png"]


def test_an_image_that_the_server_fails_at(main: Main, scenes: Path, tmp_path: Path) -> None:
    with FakeServer() as server:
        server.fail(AUTOMATIC.name, grpc.StatusCode.INTERNAL, "out of memory")
        arguments = ("everything", scenes, "-o", tmp_path, *FEW, "--url", server.url)
        status, out, _ = main(*arguments, "--concurrency", "1", "--json")
        said = json.loads(out)
        assert status == 1 and said["annotated"] == NAMES[1:]
        assert "out of memory" in said["failed"]["a.jpg"]
        status, out, _ = main(*arguments)
        assert status == 0 and out.startswith(
            "1 images annotated, 3 were finished before, 0 failed"
        )


def test_when_the_server_refuses_it_stops(main: Main, scenes: Path, tmp_path: Path) -> None:
    with FakeServer() as server:
        server.fail(AUTOMATIC.name, grpc.StatusCode.PERMISSION_DENIED, "who are you?", times=9)
        status, out, said = main("everything", scenes, "-o", tmp_path, "--url", server.url)
        assert (status, out) == (1, "")
        assert said.count("who are you?") == 1 and "run the same command again" in said
        assert len(server.requests) <= everything.CONCURRENCY
    assert not written(tmp_path)


def test_folders_below(main: Main, fake: str, scenes: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("one", "two", ".hidden"):
        (source / folder).mkdir(parents=True)
        shutil.copy(scenes / "a.jpg", source / folder / "same.jpg")
    output = source / "results"  # whose overlays are no images of the next run
    arguments = ("everything", source, "-o", output, *FEW, "--url", fake)
    status, _, said = main(*arguments)
    assert status == 2 and "--recursive looks into folders below" in said
    for _ in range(2):
        assert main(*arguments, "--recursive")[0] == 0
        assert whole(output) == {"one/same.jpg", "two/same.jpg"}


def test_without_pictures(main: Main, fake: str, scenes: Path, tmp_path: Path) -> None:
    arguments = ("everything", scenes, "-o", tmp_path, *FEW)
    assert main(*arguments, "--no-pictures", "--in-client", "--url", fake)[0] == 0
    assert sorted(written(tmp_path)) == [f"{name}.json" for name in NAMES]
    status, out, said = main(*arguments, *NOWHERE, "--json")
    assert status == 0, said  # pictures were drawn from the records
    assert json.loads(out)["skipped"] == NAMES
    assert whole(tmp_path) == set(NAMES)
    assert (tmp_path / "contact-sheet.png").exists()


def test_without_a_server_it_stops(main: Main, scenes: Path, tmp_path: Path) -> None:
    status, out, said = main("everything", scenes, "-o", tmp_path, *NOWHERE)
    assert (status, out) == (1, "")
    assert said.count("nothing answers") == 1
    assert not written(tmp_path)


def test_as_many_images_are_under_way_as_may_be(
    scenes: Path, settings: GenerateSettings, tmp_path: Path
) -> None:
    class Pairs:
        """A client that answers when two ask at once."""

        def __init__(self) -> None:
            self.meeting = threading.Barrier(2, timeout=60)
            self.lock = threading.Lock()
            self.under_way = 0

        def generate(self, *arguments: object) -> list[MaskRecord]:
            with self.lock:
                self.under_way += 1
            self.meeting.wait()
            assert self.under_way <= 2
            self.meeting.wait()
            with self.lock:
                self.under_way -= 1
            return []

    job = Job(cast(SlimSam, Pairs()), settings, on_server=True)
    outcomes = annotate_folder(
        job, Folder(scenes, tmp_path), NAMES, False, 2, lambda done, total: None
    )
    assert outcomes == [Outcome(name, masks=0) for name in NAMES]


@pytest.fixture
def many(scenes: Path, tmp_path: Path) -> Path:
    """Enough images to be interrupted among."""
    source = tmp_path / "many"
    source.mkdir()
    for number in range(7):
        shutil.copy(scenes / NAMES[number % 2], source / f"{number:02}.jpg")
    return source


def interrupted(line: list[str], output: Path, more: int, number: int) -> tuple[int, str]:
    """Run until some more images are finished, and others asked for, and send a signal."""
    finished = len(list(output.glob("*.json"))) + more
    with FakeServer() as server:
        server.delay(AUTOMATIC.name, 0, times=more)
        server.delay(AUTOMATIC.name, LONG, times=99)
        process: subprocess.Popen[Any] = subprocess.Popen(
            [*line, "--url", server.url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + LONG
        while len(list(output.glob("*.json"))) < finished or len(server.requests) <= more:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_killed_midway_it_goes_on(
    slimsam: Run,
    command: Callable[..., list[str]],
    many: Path,
    options: tuple[object, ...],
    tmp_path: Path,
) -> None:
    output = tmp_path / "output"
    line = command("everything", many, "-o", output, *options, *FEW, "--timeout", LONG)
    names = {path.name for path in many.iterdir()}
    for more, finished in ((1, 1), (2, 3)):
        status, _ = interrupted(line, output, more, signal.SIGKILL)
        assert status == -signal.SIGKILL
        before = written(output)
        kept = whole(output)
        assert len(kept) == finished < len(names)
    done = slimsam(*line[1:], "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said["skipped"]) == kept
    assert set(said["annotated"]) == names - kept
    after = written(output)
    assert all(after[f"{name}.{kind}"] == before[f"{name}.{kind}"]
               for name in kept for kind in ("json", "overlay.png"))  # fmt: skip
    assert whole(output) == names
    assert len(after) == 2 * len(names) + 1  # and no leftovers


def test_interrupted_it_leaves_nothing_half_done(
    command: Callable[..., list[str]], many: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    output = tmp_path / "output"
    line = command("everything", many, "-o", output, *options, *FEW, "--timeout", LONG)
    status, said = interrupted(line, output, 2, signal.SIGINT)
    assert status == 130
    assert said.splitlines()[-1] == "slimsam: interrupted" and "Traceback" not in said
    assert "run the same command again" in said
    assert len(whole(output)) == 2
    assert not [name for name in os.listdir(output) if name.startswith(".")]
