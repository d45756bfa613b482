"""Pictures have the format that their names say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimsam_client.cli.pictures import write_picture
from slimsam_client.cli.status import UsageError

Main = Callable[..., tuple[int, str, str]]
PICTURE = Path(__file__).parents[2] / "examples" / "scene.png"
CLICK = ("segment", PICTURE, "--point", "228,312", "--best")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP"),
        ("a.bmp", "BMP"), ("a.tif", "TIFF"), ("a.tiff", "TIFF"), ("a", "PNG"), (".hidden", "PNG"),
    ],
)  # fmt: skip
def test_the_suffix_says_the_format(
    quick: Main, fake: str, tmp_path: Path, name: str, expected: str
) -> None:
    for arguments in (CLICK, ("everything", PICTURE, "--points-per-side", 4)):
        status, _, said = quick(*arguments, "-o", tmp_path / name, "--url", fake)
        assert status == 0, said
        with Image.open(tmp_path / name) as written, Image.open(PICTURE) as picture:
            assert (written.format, written.size) == (expected, picture.size)
            written.load()


@pytest.mark.parametrize("name", ["a.gif", "a.txt", "a.json", "a.pdf", "a.v2", "a.jp2"])
def test_other_suffixes_are_refused(quick: Main, tmp_path: Path, name: str) -> None:
    for option in ("-o", "--mask-out"):
        status, out, said = quick(*CLICK, option, tmp_path / name, "--url", "127.0.0.1:1")
        assert (status, out) == (2, "")
        assert "expected a name that ends in .bmp, " in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "a"])
def test_masks_are_kept_as_they_are(quick: Main, fake: str, tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "expected.png", tmp_path / name):
        assert quick(*CLICK, "--mask-out", path, "--url", fake)[0] == 0
    with Image.open(tmp_path / "expected.png") as one, Image.open(tmp_path / name) as other:
        assert np.array_equal(one, other) and set(np.unique(one)) == {0, 255}


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_masks_are_not_written_with_loss(quick: Main, tmp_path: Path, name: str) -> None:
    status, out, said = quick(*CLICK, "--mask-out", tmp_path / name, "--url", "127.0.0.1:1")
    assert (status, out) == (2, "")
    assert "ends in .bmp, .png, .tif, .tiff or has no suffix (PNG)" in said


def test_a_picture_that_its_format_cannot_hold(tmp_path: Path) -> None:
    wide = Image.new("RGB", (70000, 2))
    for name in ("a.webp", "a.jpg"):
        with pytest.raises(UsageError, match="got 70000 x 2"):
            write_picture(tmp_path / name, wide)
    assert not list(tmp_path.iterdir())
    write_picture(tmp_path / "a.png", wide)


def test_a_pipe_gets_a_png(
    quick: Main, process: Callable[..., subprocess.Popen[str]], fake: str, tmp_path: Path
) -> None:
    arguments = (*CLICK, "--url", fake, "-o")
    with process(*arguments, "/dev/stderr", errors="replace") as running:
        out, written = running.communicate(timeout=60)
    assert running.returncode == 0
    assert written[1:4] == "PNG" and out.startswith("mask of")
    pipe = tmp_path / "pipe.jpg"  # a name with a suffix means it, for a pipe, too
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert quick(*arguments, pipe)[0] == 0
        assert reader.communicate(timeout=30)[0].startswith(b"\xff\xd8")
