"""`slimsam segment`: what it writes and says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimsam_client import SlimSam, load_image

PICTURE = Path(__file__).parents[2] / "examples" / "scene.png"


Run = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[..., tuple[int, str, str]]


def test_it_writes_what_it_says(slimsam: Run, sam: SlimSam, tmp_path: Path) -> None:
    overlay, mask = tmp_path / "overlay.png", tmp_path / "mask.png"
    prompts = ("--point", "228,312", "--point", "500,700,0", "--box", "100,200,350,450")
    done = slimsam("segment", PICTURE, *prompts, "-o", overlay, "--mask-out", mask, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    image = load_image(PICTURE)
    assert (said["height"], said["width"]) == image.shape[:2]
    expected = sam.segment(
        image, points=[(228, 312), (500, 700)], labels=[1, 0], box=(100, 200, 350, 450)
    )
    with Image.open(mask) as picture:
        written = np.asarray(picture)
    assert np.array_equal(written > 0, expected.masks[expected.best])
    assert set(np.unique(written)) == {0, 255}
    assert [entry["area"] for entry in said["masks"]] == expected.masks.sum((1, 2)).tolist()
    assert said["masks"][said["best"]]["score"] == max(m["score"] for m in said["masks"])
    left, top, right, bottom = said["masks"][said["best"]]["box"]
    inside = expected.masks[expected.best]
    assert inside[top:bottom, left:right].sum() == inside.sum()
    with Image.open(overlay) as sheet:
        assert sheet.width > 3 * image.shape[1]  # all three candidates, side by side
    assert mask.stat().st_mode & 0o777 == overlay.stat().st_mode & 0o777 != 0o600


def test_in_words(slimsam: Run, sam: SlimSam, tmp_path: Path) -> None:
    output = tmp_path / "best.png"
    done = slimsam("segment", PICTURE, "--point", "228,312", "--best", "-o", output)
    assert done.returncode == 0, done.stderr
    assert "mask of" in done.stdout and str(output) in done.stdout
    image = load_image(PICTURE)
    changed = (load_image(output) != image).any(axis=-1)
    best = sam.segment(image, points=[(228, 312)]).best_masks
    assert changed[best].mean() > 0.99  # the best mask, and no more than the click beside it
    assert changed[~best].sum() < 0.01 * best.sum()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nothing.png", "--point", "1,1"], 2, "nothing.png: expected a readable image file"),
        ([PICTURE], 2, "expected a prompt, got none; give --point X,Y or --box X0,Y0,X1,Y1"),
        ([PICTURE, "--point", "5000,1"], 2, "got (5000, 1)"),
        ([PICTURE, "--point", "1,1,5"], 2, "X,Y,0 (background), got '1,1,5'"),
        ([PICTURE, "--point", "1;1"], 2, "expected X,Y or"),
        ([PICTURE, "--box", "5,5,1,1"], 2, "expected x0 < x1"),
        ([PICTURE, "--box", "5,5"], 2, "expected X0,Y0,X1,Y1"),
        ([PICTURE, "--point", "1,1", "--timeout", "-1"], 2, "expected seconds above 0"),
        ([PICTURE, "--point", "1,1", "-o", "/nowhere/a.png"], 2, "cannot write /nowhere/a.png"),
        (["a.png", "--box", "1,1,9,9", "--mask-out", "/nowhere/a"], 2, "cannot write /nowhere/a"),
        (["a.png", "--point", "1,1", "-o", "/"], 2, "cannot write /: expected a file's name"),
        ([PICTURE, "--point", "1,1", "--url", "127.0.0.1:1"], 1, "nothing answers"),
    ],
)
def test_mistakes(main: Main, arguments: list[object], status: int, message: str) -> None:
    ended, out, said = main("segment", *arguments)
    assert (ended, out) == (status, "")
    assert message in said


def test_help(main: Main) -> None:
    status, said, _ = main("segment", "--help")
    assert status == 0
    for option in ("--point", "--box", "--output", "--mask-out", "--json", "--url", "--timeout"):
        assert option in said
