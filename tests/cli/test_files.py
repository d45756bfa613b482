"""Files are written whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slimsam_client.cli.files import PART_SUFFIX, remove_parts, write_whole
from slimsam_client.cli.status import UsageError

KILLED_BEFORE_THE_END = """
import os, signal, sys
from pathlib import Path
from slimsam_client.cli.files import write_whole
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), b"new")
"""


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"old", b"new"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED_BEFORE_THE_END, path])
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    left = [file.name for file in tmp_path.iterdir() if file != path]
    assert len(left) == 1 and left[0].endswith(PART_SUFFIX)
    remove_parts(tmp_path.parent)
    assert list(tmp_path.iterdir()) == [path]


def test_links_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    link = tmp_path / "a.json"
    link.symlink_to(folder / "b.json")
    for content in (b"old", b"new"):
        write_whole(link, content)
        assert link.is_symlink() and (folder / "b.json").read_bytes() == content
    assert len(list(folder.iterdir())) == 1


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
            write_whole(path, b"new")
            assert reader.communicate(timeout=30)[0] == b"new"
        assert pipe.is_fifo() and link.is_symlink()


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"cannot write {tmp_path}: Is a directory"):
        write_whole(tmp_path, b"")
    with pytest.raises(UsageError, match="No such file or directory"):
        write_whole(tmp_path / "none" / "a.json", b"")
    assert not list(tmp_path.parent.glob(f".*{PART_SUFFIX}"))
