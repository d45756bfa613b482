"""Names and files that somebody made to do harm, or that no other system would allow."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from slimsam_client.cli import annotate
from slimsam_client.cli.messages import printable

Main = Callable[..., tuple[int, str, str]]
FEW = ("--points-per-side", 2)
LONG = "a" * 251 + ".png"
NAMES = [
    "\x1b[31mred\x07.png",
    "two\nlines.png",
    "not \udcff text.png",
    "right\u202eleft.png",
    "-o.png",
    "é %s {}.png",
]


def picture(path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    picture(source / "good.png")
    return source


def test_names_reach_terminals_escaped(
    quick: Main, fake: str, source: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        picture(source / name)
        (source / f"damaged {name}").write_bytes(b"")
    arguments = ("everything", source, "-o", tmp_path / "out\n\x1b[0m", *FEW, "--url", fake)
    status, out, said = quick(*arguments)
    assert status == 1 and out.startswith(f"{len(NAMES) + 1} images annotated")
    lines = said.splitlines()
    assert len(lines) == len(NAMES) and len(out.splitlines()) == 1
    assert all(line.isprintable() for line in (*lines, *out.splitlines()))
    assert any("\\x1b[31mred\\x07.png" in line for line in lines)
    status, out, _ = quick(*arguments, "--json")
    assert sorted(json.loads(out)["skipped"]) == sorted([*NAMES, "good.png"])
    status, out, _ = quick("export-coco", tmp_path / "out\n\x1b[0m", "-o", "-")
    assert status == 0
    found = {image["file_name"] for image in json.loads(out)["images"]}
    assert found == {*NAMES, "good.png"}
    for name in NAMES:
        options = ("--point", "9,9", "--url", fake, "-o", tmp_path / name)
        status, out, said = quick("segment", source / name, *options)
        assert (status, said) == (0, "") and out.rstrip("\n").isprintable()
        status, out, said = quick("segment", source / f"damaged {name}", *options)
        assert (status, out) == (2, "") and said.rstrip("\n").isprintable()


def test_a_terminal_of_ascii(
    process: Callable[..., subprocess.Popen[str]], fake: str, source: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for name in ("é.png", "\u4e2d.png"):
        picture(source / name)
        line = ("segment", source / name, "--point", "9,9", "--url", fake, "-o", tmp_path / name)
        with process(*line, env=environment) as running:
            out, said = running.communicate(timeout=60)
        assert (running.returncode, said) == (0, "")
        assert out.isascii() and (tmp_path / name).exists()


def test_messages_are_printable() -> None:
    assert printable("a b é 中") == "a b é 中"
    assert printable("\x1b\n\udc80\u2028\xa0") == "\\x1b\\n\\udc80\\u2028\\xa0"


def test_a_name_that_is_too_long_fails_alone(
    quick: Main, fake: str, source: Path, tmp_path: Path
) -> None:
    picture(source / LONG)
    status, out, said = quick("everything", source, "-o", tmp_path / "out", *FEW, "--url", fake)
    assert status == 1 and out.startswith("1 images annotated, 0 were finished before, 1 failed")
    assert said == f"slimsam: failed: {LONG}: cannot write its results: File name too long\n"


def test_images_that_are_no_regular_files_fail_alone(
    quick: Main, fake: str, source: Path, tmp_path: Path
) -> None:
    (source / "endless.png").symlink_to("/dev/zero")
    (source / "folder.png").symlink_to(tmp_path)
    (source / "nowhere.png").symlink_to("/nowhere")
    (source / "loop.png").symlink_to("loop.png")
    with (source / "huge.png").open("wb") as file:
        file.truncate(2**31)
    status, out, said = quick("everything", source, "-o", tmp_path / "out", *FEW, "--url", fake)
    assert status == 1 and out.startswith("1 images annotated")
    failed = sorted(line.split(": ")[2] for line in said.splitlines())
    # A link to a folder is one, and links to folders are not followed.
    assert failed == ["endless.png", "huge.png", "loop.png", "nowhere.png"]
    assert "got a character device" in said
    for command in (("segment", "--point", "9,9"), ("everything",)):
        status, out, said = quick(command[0], "/dev/zero", *command[1:], "--url", fake)
        assert (status, out) == (2, "") and "got a character device" in said


def test_results_that_are_folders_fail_alone(
    quick: Main, fake: str, source: Path, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        picture(source / name)
    (tmp_path / "out" / "a.png.json").mkdir(parents=True)
    (tmp_path / "out" / "b.png.overlay.png").mkdir()
    (source / "good.png.json").mkdir()
    picture(source / "good.png.json" / "d.png")
    arguments = ("everything", source, "-o", tmp_path / "out", *FEW, "--url", fake, "-r")
    status, out, said = quick(*arguments, "--concurrency", 1, "--json")
    assert status == 1
    answer = json.loads(out)
    assert answer["annotated"] == ["c.png", "good.png"]
    assert sorted(answer["failed"]) == ["a.png", "b.png", "good.png.json/d.png"]


def test_a_picture_that_does_not_fit_into_memory_fails_alone(
    quick: Main, fake: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(content: bytes, name: str) -> None:
        raise MemoryError

    monkeypatch.setattr(annotate, "decoded", too_large)
    status, _, said = quick("everything", source, "-o", tmp_path / "out", *FEW, "--url", fake)
    assert status == 1 and "good.png: expected an image that fits into memory" in said
    status, _, said = quick("everything", source / "good.png", *FEW, "--url", fake)
    assert status == 2 and said.startswith("slimsam: error: expected an image that fits into mem")


def test_a_full_disk_ends_a_folder(
    quick: Main, fake: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, out, said = quick("everything", source, "-o", tmp_path / "out", *FEW, "--url", fake)
    assert (status, out) == (2, "")
    assert said.splitlines()[-1].endswith("No space left on device")
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_file()]


def test_standard_output_may_be_closed(
    process: Callable[..., subprocess.Popen[str]], fake: str, source: Path
) -> None:
    line = ("segment", source / "good.png", "--point", "9,9", "--url", fake)
    with process(*line, shell='exec "$@" >&-') as running:
        said = running.communicate(timeout=60)[1]
    assert (running.returncode, said) == (0, "")


def test_a_pipe_is_an_image_of_segment_and_everything(
    process: Callable[..., subprocess.Popen[str]], fake: str, source: Path
) -> None:
    for command in (("segment", "--point", "9,9"), ("everything", *FEW)):
        line = (command[0], "/dev/stdin", *command[1:], "--url", fake)
        with subprocess.Popen(["cat", source / "good.png"], stdout=subprocess.PIPE) as writer:
            with process(*line, stdin=writer.stdout) as running:
                out, said = running.communicate(timeout=60)
        assert (running.returncode, said) == (0, "") and "mask" in out
