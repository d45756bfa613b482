"""A build that is killed at any moment: servers start, `check` sees it, the next mends it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slimsam_build.check import find_remains, find_stale
from slimsam_build.cli import main
from slimsam_build.digest import sha256_of
from slimsam_build.errors import RepositoryError
from slimsam_build.machine import this_machine
from slimsam_build.repository import BUILT
from slimsam_build.scratch import NAME, find_leftovers, is_building, open_scratch
from slimsam_client.contract import DECODER, ENCODER, INFO, OF_CHECKPOINT
from slimsam_server import EmbeddedServer

BUILD = """
import os, signal, sys
from pathlib import Path
from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.pipeline import build

def say(line):
    os.kill(os.getpid(), signal.SIGKILL)

build(load_checkpoint("demo"), "openvino", "fp32", Path(sys.argv[1]), say)
"""
"""Killed when the encoder is exported and the decoder is not."""

INSTALL = """
import os, signal, sys
from pathlib import Path
from slimsam_build.scratch import open_scratch

made, copies = Path(sys.argv[1]), map(Path, sys.argv[2:])
rename = os.replace

def install(repository, moves):
    def counted(source, target):
        nonlocal moves
        if moves == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        moves -= 1
        rename(source, target)

    Path.replace = counted
    with open_scratch(repository) as scratch:
        for model in ("slimsam_encoder", "slimsam_decoder", "slimsam_decoder_bulk", "slimsam_info"):
            for file in (made / model).iterdir():
                (scratch.folder(model) / file.name).write_bytes(file.read_bytes())
        scratch.install(lambda line: None)

for moves, repository in enumerate(copies):
    child = os.fork()
    if child == 0:
        install(repository, moves)
        os._exit(0)
    os.waitpid(child, 0)
"""
"""Killed before the first move in the first copy, before the second in the second, and so on."""
FILES = 10
"""Moves of an installation: two files of each model, their three reports, slimsam_info's."""


@pytest.fixture
def repository(demo_repository: Path, tmp_path: Path) -> Path:
    return shutil.copytree(demo_repository, tmp_path / "copy", symlinks=True)


def run(script: str, *arguments: object) -> int:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def models_without_config(repository: Path) -> list[Path]:
    """What Triton would take for a model, and not start."""
    return [path for path in repository.iterdir() if not (path / "config.pbtxt").is_file()]


@pytest.mark.slow
def test_a_server_starts_beside_a_killed_build(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(BUILD, repository) == -signal.SIGKILL
    leftover = repository / ENCODER.name / "1" / NAME
    assert (leftover / "model.bin").is_file()
    assert models_without_config(repository) == []
    with EmbeddedServer(repository):
        pass
    # The artifacts are those of the earlier build, so a server's check passes, and names the rest.
    assert main(["check", "--model-repository", str(repository), "--target", "openvino"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert f"left over: {leftover}: left by a build that was killed; the next build removes it" in (
        lines
    )


@pytest.fixture
def made(demo_repository: Path, tmp_path: Path) -> Path:
    """Artifacts and reports of another build of the same checkpoint, for scratch folders."""
    information = tmp_path / "made" / INFO.name / "openvino.json"
    information.parent.mkdir(parents=True)
    edit(information, demo_repository / INFO.name / "1" / "openvino.json", precision="bf16")
    for spec in OF_CHECKPOINT:
        folder = tmp_path / "made" / spec.name
        folder.mkdir(parents=True)
        place = demo_repository / spec.name / "1"
        for name in ("model.xml", "model.bin"):
            shutil.copy(place / name, folder)
        edit(folder / "model.xml.json", place / "model.xml.json", precision="bf16")
    return tmp_path / "made"


def edit(path: Path, source: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(source.read_text()), **changes}))


def killed_installations(repository: Path, made: Path) -> list[list[str]]:
    """Kill an installation before each move, and once not at all; give what is stale then."""
    copies = [repository.with_name(f"killed-{moves}") for moves in range(FILES + 1)]
    for copy in copies:
        shutil.copytree(repository, copy, symlinks=True)
    assert run(INSTALL, made, *copies) == 0
    assert all(models_without_config(copy) == [] for copy in copies)
    left = [bool(find_leftovers(copy)) for copy in copies]
    assert left == [True] * FILES + [False]
    return [find_stale(copy, "openvino", this_machine()) for copy in copies]


def test_half_an_installation_is_stale(repository: Path, made: Path) -> None:
    stale = killed_installations(repository, made)
    # The weights are equal, so that only the reports tell the builds apart, and they move last.
    assert [bool(lines) for lines in stale] == [*[False] * 7, True, True, True, False]
    assert "the encoder of one build and slimsam_decoder of another" in stale[7][0]
    assert "the encoder of one build and slimsam_decoder_bulk of another" in stale[8][0]
    assert "tells of another build than the artifacts are of" in stale[9][0]


def test_half_an_installation_of_other_weights_is_stale(repository: Path, made: Path) -> None:
    for spec in OF_CHECKPOINT:
        folder = made / spec.name
        (folder / "model.bin").write_bytes(b"other weights")
        (folder / "model.xml").write_bytes(b"another graph")
        checkpoint = {"name": "other", "sha256": "0" * 64}
        files = {name: {"sha256": sha256_of(folder / name)} for name in ("model.bin", "model.xml")}
        report = folder / "model.xml.json"
        edit(report, report, checkpoint=checkpoint, files=files)
    information = made / INFO.name / "openvino.json"
    edit(information, information, digest="0" * 64)
    stale = killed_installations(repository, made)
    assert [bool(lines) for lines in stale] == [False, *[True] * (FILES - 1), False]


def leave_parts(repository: Path) -> list[Path]:
    """Leave what killed builds leave: of this version, and of 0.1.0."""
    folders = [
        *(repository / spec.name / "1" / NAME for spec in (ENCODER, DECODER)),
        repository / ".building-x1",
    ]
    for folder in folders:
        (folder / "inside").mkdir(parents=True)
        (folder / "model.bin").write_bytes(b"half")
    (folders[0] / "lock").touch()
    return sorted(folders)


def test_what_killed_builds_left_is_named_and_swept(empty_repository: Path) -> None:
    folders = leave_parts(empty_repository)
    assert find_leftovers(empty_repository) == folders
    remains = find_remains(empty_repository)
    assert len(remains) == 2 and all(NAME in line for line in remains)
    # Beside this one no server starts, so it is stale.
    (old,) = [
        line for line in find_stale(empty_repository, None, this_machine()) if ".building-" in line
    ]
    assert "Triton does not start" in old and "the next build removes it" in old
    with open_scratch(empty_repository) as scratch:
        folder = scratch.folder(ENCODER.name)
        assert [path.name for path in folder.iterdir()] == ["lock"]
        assert find_leftovers(empty_repository) == [folder]
    assert find_leftovers(empty_repository) == []


def test_a_folder_that_no_build_made_is_stale_but_not_swept(empty_repository: Path) -> None:
    (empty_repository / "lost+found").mkdir()
    stale = find_stale(empty_repository, None, this_machine())
    assert any("lost+found" in line and "move it away" in line for line in stale)
    with open_scratch(empty_repository):
        pass
    assert (empty_repository / "lost+found").is_dir()


def test_a_second_build_is_refused_and_takes_nothing_away(empty_repository: Path) -> None:
    with open_scratch(empty_repository) as scratch:
        file = scratch.folder(DECODER.name) / "model.bin"
        file.write_bytes(b"made")
        assert is_building(empty_repository)
        assert find_remains(empty_repository) == []
        with pytest.raises(RepositoryError, match="other build at work"):
            with open_scratch(empty_repository):
                pytest.fail("two builds at once")
        assert file.is_file()
        assert not [
            line for line in find_stale(empty_repository, None, this_machine()) if NAME in line
        ]
    assert not is_building(empty_repository)
    with open_scratch(empty_repository):
        pass


def test_a_build_that_was_killed_does_not_lock_the_next(empty_repository: Path, made: Path) -> None:
    run(INSTALL, made, empty_repository)
    assert find_leftovers(empty_repository) and not is_building(empty_repository)
    assert len(find_remains(empty_repository)) == len(OF_CHECKPOINT) + 1  # and slimsam_info's
    with open_scratch(empty_repository):
        assert is_building(empty_repository)


@pytest.mark.parametrize(
    "link",
    [
        lambda repository, aside: repository,
        lambda repository, aside: repository / DECODER.name,
        lambda repository, aside: repository / ENCODER.name / "1",
    ],
    ids=["repository", "model", "version"],
)
def test_links_are_followed(
    empty_repository: Path, tmp_path: Path, link: Callable[[Path, Path], Path]
) -> None:
    linked, aside = link(empty_repository, tmp_path), tmp_path / "a side"
    linked.rename(aside)
    linked.symlink_to(aside)
    with open_scratch(empty_repository) as scratch:
        for spec in BUILT:
            (scratch.folder(spec.name) / "model.bin").write_bytes(b"made")
        scratch.install(lambda _: None)
    for spec in BUILT:
        assert (empty_repository / spec.name / "1" / "model.bin").read_bytes() == b"made"
    assert linked.is_symlink() and find_leftovers(empty_repository) == []


def test_a_link_in_the_scratch_folders_place_is_not_followed(
    empty_repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (empty_repository / DECODER.name / "1" / NAME).symlink_to(tmp_path / "precious")
    with open_scratch(empty_repository) as scratch:
        scratch.folder(DECODER.name)
    assert (tmp_path / "precious" / "file").exists()
