"""Outputs that would destroy an input, or each other, are refused before anything is computed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.status import UsageError
from slimsam_client.testing import FakeServer

Main = Callable[..., tuple[int, str, str]]
FEW = ("--points-per-side", 4)
CLICK = ("--point", "9,9")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture, with a link and a hard link to it."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    (tmp_path / "link.png").symlink_to(photo)
    os.link(photo, tmp_path / "hard.png")
    (tmp_path / "below").mkdir()
    return photo


SPELLINGS = ["photo.png", "./photo.png", "below/../photo.png", "link.png", "hard.png"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("source", ["photo.png", "link.png"])
@pytest.mark.parametrize(
    "command",
    [
        ("segment", *CLICK, "-o"),
        ("segment", *CLICK, "--mask-out"),
        ("segment", *CLICK, "-o", "other.png", "--mask-out"),
        ("everything", *FEW, "-o"),
    ],
)
def test_the_input_is_no_output(
    quick: Main,
    photo: Path,
    command: tuple[str, ...],
    source: str,
    spelling: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photo.parent)
    before = photo.read_bytes()
    name, *options = command
    status, out, said = quick(name, source, *options, spelling, "--url", "127.0.0.1:1")
    assert (status, out) == (2, "")
    assert said.startswith("slimsam: error: cannot write ") and "that are read" in said
    assert photo.read_bytes() == before and not Path("other.png").exists()


@pytest.mark.parametrize("second", ["out.png", "./out.png", "to_out.png", "below/../out.png"])
@pytest.mark.parametrize("there", [False, True])
def test_two_outputs_are_two_files(
    quick: Main, photo: Path, second: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("to_out.png").symlink_to("out.png")
    if there:
        Path("out.png").touch()
    arguments = ("segment", photo, *CLICK, "--url", "127.0.0.1:1", "-o", "out.png")
    status, out, said = quick(*arguments, "--mask-out", second)
    assert (status, out) == (2, "")
    assert f"cannot write {Path(second)}: expected another file than out.png" in said


def test_what_takes_everything_may_be_both(photo: Path) -> None:
    check_outputs([Path("/dev/null"), Path("/dev/null"), None], [photo])


def test_links_between_hard_links_are_two_files(photo: Path) -> None:
    # Each is replaced by a file of its own.
    check_outputs([photo, photo.parent / "hard.png"])


def test_what_may_not_be_written_is_refused_at_once(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = photo.parent / "loop.png"
    loop.symlink_to(loop)
    dangling = photo.parent / "dangling.png"
    dangling.symlink_to("/nowhere/a.png")
    for path, message in (
        (loop, "Too many levels of symbolic links"),
        (dangling, "expected the directory /nowhere"),
        (photo / "a.png", "Not a directory"),
        (photo.parent / ("a" * 300), "File name too long"),
        (photo.parent, "expected a file's name"),
    ):
        with pytest.raises(UsageError, match=message):
            check_outputs([path])
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != photo)  # root may all
    with pytest.raises(UsageError, match="expected a file and a directory that may be written"):
        check_outputs([photo])
    check_outputs([photo.parent / "new.png"])
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != photo.parent)
    with pytest.raises(UsageError, match="expected a file and a directory that may be written"):
        check_outputs([photo.parent / "new.png"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with two pictures, one in a folder below."""
    source = tmp_path / "source"
    for name in ("a.png", "sub/b.png"):
        (source / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (40, 30), "red").save(source / name)
    return source


def refused(quick: Main, source: Path, output: Path) -> str:
    """What the command says that refuses a folder; it asks no server."""
    before = sorted(source.rglob("*"))
    arguments = ("everything", source, "-o", output, "-r", *FEW, "--url", "127.0.0.1:1")
    status, out, said = quick(*arguments)
    assert (status, out) == (2, ""), said
    assert len(said.splitlines()) == 1 and "nothing answers" not in said
    assert sorted(source.rglob("*")) == before
    return said


def test_a_folder_of_results_is_not_that_of_images(
    quick: Main, source: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(source)
    for same in (source, link, source / "sub" / ".."):
        assert "expected -o with a folder other than" in refused(quick, source, same)


def test_an_image_that_leads_to_a_result_is_refused(
    quick: Main, source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    for result in ("a.png.overlay.png", "contact-sheet.png", "sub/b.png.json"):
        (output / result).parent.mkdir(exist_ok=True)
        shutil.copy(source / "a.png", output / result)
        for link in (os.symlink, os.link):
            link(output / result, source / "c.png")
            assert "that are read" in refused(quick, source, output)
            (source / "c.png").unlink()
        (output / result).unlink()


def test_results_do_not_lie_elsewhere_through_links(
    quick: Main, source: Path, tmp_path: Path
) -> None:
    output, elsewhere = tmp_path / "output", tmp_path / "elsewhere"
    output.mkdir()
    elsewhere.mkdir()
    (output / "sub").symlink_to(elsewhere)
    assert "is a link to" in refused(quick, source, output)
    assert not list(elsewhere.iterdir())
    (output / "sub").unlink()
    (output / "sub").symlink_to(output)
    shutil.copy(source / "a.png", source / "b.png")
    assert "expected another file than" in refused(quick, source, output)
    # One level up, so that sub/sub's results would lie among the images of sub.
    (source / "sub" / "sub").mkdir()
    shutil.move(source / "sub" / "b.png", source / "sub" / "sub")
    assert "overlays would be taken for images" in refused(quick, source / "sub", source)


def test_a_folder_in_a_result_s_place(quick: Main, source: Path, tmp_path: Path) -> None:
    (tmp_path / "contact-sheet.png").mkdir()
    assert "expected a file's name, got a directory" in refused(quick, source, tmp_path)


def test_links_among_the_results_are_replaced(
    quick: Main, fake: str, source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    names = [f"a.png.{kind}" for kind in ("json", "overlay.png")] + ["contact-sheet.png"]
    output.mkdir()
    (tmp_path / "private").write_text("mine")
    for name in (*names, "contact-sheet-2.png"):
        (output / name).symlink_to(tmp_path / "private")
    arguments = ("everything", source, "-o", output, *FEW, "--url", fake)
    assert quick(*arguments)[0] == 0
    assert (tmp_path / "private").read_text() == "mine"
    assert not any((output / name).is_symlink() for name in names)
    assert sorted(path.name for path in output.iterdir()) == sorted(names)
    # A pipe in their place is not waited for, when it is read or when it is written.
    for name in names:
        (output / name).unlink()
        os.mkfifo(output / name)
        assert quick(*arguments)[0] == 0
        assert (output / name).is_file()


@pytest.mark.parametrize(
    "place", ["a.png.json", "sub/b.png.json", "annotations.json", "out", "hard.json"]
)
def test_annotations_are_no_records(
    quick: Main, fake: str, source: Path, tmp_path: Path, place: str
) -> None:
    output = tmp_path / "output"
    assert quick("everything", source, "-o", output, "-r", *FEW, "--url", fake)[0] == 0
    records = output / "a.png.json"
    (output / "annotations.json").symlink_to(records)
    (output / "out").symlink_to("sub/b.png.json")
    os.link(records, output / "hard.json")
    before = {path: path.read_bytes() for path in output.rglob("*.*")}
    status, out, said = quick("export-coco", output, "-o", output / place)
    assert (status, out) == (2, "") and "cannot write" in said
    assert {path: path.read_bytes() for path in output.rglob("*.*")} == before


def test_nothing_is_asked_of_a_server_for_a_refused_output(quick: Main, photo: Path) -> None:
    with FakeServer() as server:
        for arguments in (
            ("segment", photo, *CLICK, "-o", photo),
            ("segment", photo, *CLICK, "-o", "a.gif"),
            ("segment", photo, *CLICK, "--mask-out", "a.jpg"),
            ("everything", photo, *FEW, "-o", "a.txt"),
            ("everything", photo, *FEW, "-o", photo),
        ):
            assert quick(*arguments, "--url", server.url)[0] == 2
        assert not server.requests


def test_json_is_written_to_names_of_json(quick: Main, fake: str, photo: Path) -> None:
    folder = photo.parent
    output = folder / "output"
    assert quick("everything", folder, "-o", output, *FEW, "--url", fake)[0] == 0
    for name in ("photo.png", "a.txt", "new.png.json"):
        status, out, said = quick("export-coco", output, "-o", folder / name)
        assert (status, out) == (2, "") and "cannot write" in said
    for name in ("a.JSON", "annotations"):
        assert quick("export-coco", output, "-o", folder / name)[0] == 0
        assert json.loads((folder / name).read_bytes())["images"]
