"""Temporary directories and shared memory of servers that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimsam_server import temporary_directory
from slimsam_server.temporary_directory import SHARED_MEMORY, TemporaryDirectory, remove_leftovers

KILLED = """
import os, signal
from slimsam_server.temporary_directory import TemporaryDirectory
directory = TemporaryDirectory()
print(directory.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for temporary files of these tests alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def killed(place: Path) -> Iterator[Path]:
    """What a killed process has left, with a region of shared memory."""
    environment = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True
    )
    directory = Path(done.stdout.strip())
    assert directory.is_dir() and done.returncode == -9
    (directory / "backends").mkdir()
    region = region_of(directory)
    region.touch()
    yield directory
    region.unlink(missing_ok=True)


def region_of(directory: Path) -> Path:
    return SHARED_MEMORY / f"slimsam_{directory.name.rpartition('-')[2]}_shm_region_1"


def make_old(directory: Path) -> None:
    os.utime(directory, (0, 0))


def test_the_next_start_removes_what_a_killed_server_has_left(killed: Path) -> None:
    make_old(killed)
    TemporaryDirectory().remove()
    assert not killed.exists() and not region_of(killed).exists()


def test_what_belongs_to_a_server_that_runs_is_left(killed: Path) -> None:
    running = TemporaryDirectory()
    region = region_of(running.path)
    region.touch()
    make_old(running.path)
    remove_leftovers()
    assert running.path.is_dir() and region.exists()
    assert killed.is_dir() and region_of(killed).exists()  # it is young: it may be starting
    running.remove()
    assert not running.path.exists() and not region.exists()


@pytest.mark.parametrize("name", ["slimsam-serve-", "slimsam-serve-*", "slimsam-serve-abc", "x"])
def test_what_others_have_named_is_left(place: Path, name: str, killed: Path) -> None:
    directory = place / name
    directory.mkdir()
    (directory / "lock").touch()
    make_old(directory)
    remove_leftovers()
    assert directory.is_dir() and region_of(killed).exists()


def test_a_directory_without_a_lock_and_a_link_are_left(place: Path) -> None:
    unlocked = place / "slimsam-serve-abcdefgh"
    unlocked.mkdir()
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    link = place / "slimsam-serve-hgfedcba"
    link.symlink_to(elsewhere)
    os.utime(link, (0, 0), follow_symlinks=False)
    make_old(unlocked)
    remove_leftovers()
    assert unlocked.is_dir() and elsewhere.is_dir() and (elsewhere / "lock").exists()


def test_a_directory_that_cannot_be_locked_is_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary_directory, "LOCK", "nowhere/lock")
    with pytest.raises(FileNotFoundError):
        TemporaryDirectory()
    assert not list(place.iterdir())
