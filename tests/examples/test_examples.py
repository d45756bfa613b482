from __future__ import annotations

import asyncio
import dataclasses
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from skimage import data

from slimsam_client import GenerateSettings, SlimSam, load_image
from slimsam_client.contract import ENCODER
from slimsam_client.testing import FakeServer

Run = Callable[..., CompletedProcess[str]]
CLICK = (914, 256)
BOXES = [(411, 463, 673, 619), (670, 268, 841, 446), (820, 182, 1004, 332)]
# What the demo checkpoint's modest scores need.
SETTINGS = GenerateSettings(
    points_per_side=5, points_per_batch=15, pred_iou_thresh=0.75, stability_score_thresh=0.85
)
OPTIONS = [
    "--points-per-side", 5, "--points-per-batch", 15,
    "--pred-iou-thresh", 0.75, "--stability-score-thresh", 0.85,
]  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path, scene: Path) -> Path:
    """Three pictures of different sizes and kinds, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(scene, folder / "b scene.png")
    Image.fromarray(data.astronaut()).save(folder / "astronaut.jpg")
    Image.fromarray(data.camera()[:300]).save(folder / "camera.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def changed(picture: Path, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a picture is no longer the image."""
    return (load_image(picture) != image).any(axis=2)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_click(
    run: Run, sam: SlimSam, scene: Path, scene_pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    output = tmp_path / "click.png"
    done = run("one_click.py", scene, "--point", *CLICK, "--output", output)
    assert (done.returncode, done.stderr) == (0, "")
    expected = sam.segment(scene_pixels, points=[CLICK])
    areas = [int(area) for area in re.findall(r"a mask of (\d+) pixels", done.stdout)]
    assert areas == expected.masks.sum(axis=(1, 2)).tolist()
    drawn = changed(output, scene_pixels)
    assert drawn[CLICK[1], CLICK[0]]
    assert expected.best_masks[CLICK[1], CLICK[0]]
    assert iou(drawn, expected.best_masks) > 0.99


def test_boxes(run: Run, scene: Path, scene_pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    output = tmp_path / "boxes.png"
    boxes = [part for box in BOXES for part in ("--box", *box)]
    done = run("boxes.py", scene, *boxes, "--output", output)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = changed(output, scene_pixels)
    areas = [int(area) for area in re.findall(r"(\d+) pixels, score", done.stdout)]
    assert len(areas) == len(BOXES)
    for (x0, y0, x1, y1), area in zip(BOXES, areas, strict=True):
        inside = drawn[y0:y1, x0:x1].sum()  # the mask, and the box's own line
        assert area <= inside < area + 8 * (x1 - x0 + y1 - y0)
        assert area > 0.5 * (x1 - x0) * (y1 - y0)
        drawn[y0 - 4 : y1 + 5, x0 - 4 : x1 + 5] = False
    assert drawn.sum() < 0.01 * sum(areas)


def test_everything(
    run: Run, sam: SlimSam, scene: Path, scene_pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    output = tmp_path / "everything.png"
    done = run("everything.py", scene, *OPTIONS, "--output", output)
    assert done.returncode == 0
    assert "request 1 of 3" in done.stderr and "request 3 of 3" in done.stderr
    records = sam.generate(scene_pixels, SETTINGS, on_server=True)
    assert len(records) > 4
    assert f"{len(records)} masks" in done.stderr
    areas = [int(area) for area in re.findall(r"^(\d+) pixels", done.stdout, re.MULTILINE)]
    assert areas == sorted((record.area for record in records), reverse=True)[:10]
    union = np.any([record.segmentation for record in records], axis=0)
    assert iou(changed(output, scene_pixels), union) > 0.99


def test_many_images_are_under_way_at_once(photos: Path, scene: Path, tmp_path: Path) -> None:
    with FakeServer() as fake:
        fake.delay(ENCODER.name, 600, times=3)
        command = [sys.executable, scene.parent / "many_images_async.py", photos]
        command += ["--output", tmp_path / "overlays", "--url", fake.url]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(list(map(str, command)), **silent) as process:
            try:
                while len(fake.requests) < 3:  # though none is answered
                    assert process.poll() is None
                    time.sleep(0.02)
            finally:
                process.kill()


def test_many_images(run: Run, sam: SlimSam, photos: Path, tmp_path: Path) -> None:
    done = run("many_images_async.py", photos, "--output", tmp_path / "overlays")
    names = ["astronaut.jpg", "b scene.png", "camera.png"]
    lines = [line.split(": ") for line in done.stdout.splitlines()]
    assert [name for name, _ in lines] == names
    assert done.returncode == 1
    assert done.stderr.startswith("broken.jpg: ")
    assert done.stderr.endswith("1 of 4 failed: broken.jpg\n")
    for name, said in lines:
        image = load_image(photos / name)
        middle = (image.shape[1] / 2, image.shape[0] / 2)
        mask = sam.segment(image, points=[middle]).best_masks
        assert said.startswith(f"{mask.sum()} pixels")
        assert changed(tmp_path / "overlays" / f"{name}.png", image)[mask].mean() > 0.95


def test_annotations(
    run: Run, sam: SlimSam, photos: Path, scene_pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    for name in ("astronaut.jpg", "camera.png"):
        (photos / name).unlink()
    Image.fromarray(scene_pixels[::-1, 200:]).save(photos / "turned.png")
    output = tmp_path / "coco.json"
    settings = dataclasses.replace(SETTINGS, points_per_side=4, points_per_batch=16)
    done = run("annotate_folder.py", photos, "--settings", settings.to_json(), "--output", output)
    assert done.returncode == 0
    assert done.stderr.startswith("left out: ") and "broken.jpg" in done.stderr
    assert set(tmp_path.iterdir()) == {photos, output}
    coco = COCO(output)
    images = coco.loadImgs(coco.getImgIds())
    assert [image["file_name"] for image in images] == ["b scene.png", "turned.png"]
    for image in images:
        records = sam.generate(photos / image["file_name"], settings, on_server=False)
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert len(annotations) == len(records) > 3
        for annotation, record in zip(annotations, records, strict=True):
            mask = coco.annToMask(annotation).astype(bool)
            assert iou(mask, record.segmentation) > 0.999
            assert annotation["area"] == mask.sum()


def test_the_newest_frame_wins(
    run: Run, tmp_path: Path, load_example: Callable[[str], ModuleType]
) -> None:
    output = tmp_path / "latest.gif"
    fps, count = 6, 5  # so few that drawing keeps up on a busy machine
    done = run(
        "latest_frame.py", "--fps", fps, "--count", count, "--patience", 250, "--output", output
    )
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(output) as film:
        assert film.n_frames == count
    line = r"frame (\d+): (\d+) ms old, click at \((\d+), (\d+)\); .* fps shown, (\d+) dropped"
    shown = [tuple(map(int, found)) for found in re.findall(line, done.stdout)]
    assert len(shown) == count
    disc_center = load_example("latest_frame.py").disc_center
    for index in range(count - 1):
        number, _, _, _, dropped = shown[index]
        following, _, *click, _ = shown[index + 1]
        # Frames before this one were shown or dropped.
        assert number <= dropped + index
        # The next one was the newest when the answer came, or the first to come then: all others
        # were shown or dropped, for none waits in a queue.
        assert following == dropped + index + 1
        # And the click is where the disc was.
        assert np.hypot(*np.subtract(click, disc_center(number / fps))) < 10


def test_a_folder_of_frames(run: Run, scene: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    shutil.copy(scene, frames)
    done = run(
        "latest_frame.py", "--folder", frames, "--point", *CLICK, "--fps", 10, "--count", 2,
        "--patience", 60, "--output", tmp_path / "latest.gif",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    clicks = re.findall(r"click at \((\d+), (\d+)\)", done.stdout)
    assert len(clicks) == 2
    assert all(np.hypot(int(x) - 912, int(y) - 257) < 20 for x, y in clicks)
    (frames / "z.png").write_bytes(b"no picture")
    done = run("latest_frame.py", "--folder", frames)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "z.png" in done.stderr


def test_mailbox(load_example: Callable[[str], ModuleType]) -> None:
    module = load_example("latest_frame.py")

    async def scenario() -> None:
        mailbox = module.Mailbox()
        for number in range(3):
            mailbox.put(module.Frame(number, 0.0, np.zeros((1, 1, 3), np.uint8)))
        assert (await mailbox.take()).number == 2
        assert mailbox.dropped == 2
        waiting = asyncio.create_task(mailbox.take())
        await asyncio.sleep(0.01)
        assert not waiting.done()  # what was taken is not given again
        # A reader that is cancelled just as a frame comes does not take it along.
        mailbox.put(module.Frame(3, 0.0, np.zeros((1, 1, 3), np.uint8)))
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert (await asyncio.wait_for(mailbox.take(), 1)).number == 3
        assert mailbox.dropped == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("one_click.py", ["scene.png", "--point", 1, 1]),
        ("boxes.py", ["scene.png", "--box", 1, 1, 9, 9]),
        ("everything.py", ["scene.png"]),
        ("latest_frame.py", []),
    ],
)
def test_without_a_server(name: str, arguments: list[object], run: Run, scene: Path) -> None:
    given = [scene if argument == "scene.png" else argument for argument in arguments]
    done = run(name, *given, "--url", "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: 127.0.0.1:1")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "status", "message"),
    [
        ("many_images_async.py", ["nowhere"], 1, "error: [Errno 2] No such file"),
        ("annotate_folder.py", ["nowhere"], 1, "error: [Errno 2] No such file"),
        ("latest_frame.py", ["--folder", "nowhere"], 1, "error: [Errno 2] No such file"),
        ("many_images_async.py", [".", "--url", ":::"], 1, "error: url: expected host:port"),
        ("many_images_async.py", [".", "--concurrency", 0], 2, "expected at least 1, got 0"),
        ("latest_frame.py", ["--fps", 0], 2, "expected numbers above 0"),
        ("latest_frame.py", ["--count", 0], 2, "expected numbers above 0"),
    ],
)
def test_mistakes(
    name: str, arguments: list[object], status: int, message: str, run: Run, tmp_path: Path
) -> None:
    done = run(name, *arguments, "--output", tmp_path / "output")
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr and "Traceback" not in done.stderr


def test_settings_of_everything_mode_are_checked(run: Run, scene: Path) -> None:
    done = run("everything.py", scene, "--crop-n-layers", 9)
    assert done.returncode == 1
    assert done.stderr == "error: crop_n_layers: expected an integer within 0..4, got 9\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["one_click.py", "PHOTO", "--point", 9, 9],
        ["boxes.py", "PHOTO", "--box", 1, 1, 9, 9],
        ["everything.py", "PHOTO"],
        ["annotate_folder.py", "FOLDER"],
        ["latest_frame.py", "--folder", "FOLDER"],
        ["many_images_async.py", "FOLDER"],
    ],
)
def test_no_example_writes_over_its_input(
    arguments: list[object], scene: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    photo, link = folder / "photo.png", tmp_path / "link.png"
    Image.new("RGB", (20, 20)).save(photo)
    link.symlink_to(photo)
    to_folder = tmp_path / "to_folder"
    to_folder.symlink_to(folder)
    before = photo.read_bytes()
    name, *rest = [{"PHOTO": photo, "FOLDER": folder}.get(str(part), part) for part in arguments]
    output = to_folder if name == "many_images_async.py" else link
    command = [sys.executable, scene.parent / str(name), *rest, "--output", output]
    done = subprocess.run(
        [*map(str, command), "--url", "127.0.0.1:1"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert "that are read" in done.stderr or "expected a folder other than" in done.stderr
    assert photo.read_bytes() == before and list(folder.iterdir()) == [photo]
