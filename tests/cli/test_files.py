"""Files are written whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from slimsam_client.batch.local_files import MAX_BYTES, PART_SUFFIX, remove_parts
from slimsam_client.cli.files import read_file, write_whole
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


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o755])
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, mode: int, mask: int) -> None:
    path, link = tmp_path / "a.json", tmp_path / "link"
    path.touch()
    path.chmod(mode)
    link.symlink_to(path)
    earlier = os.umask(mask)
    try:
        for name in (path, link):
            write_whole(name, b"new")
            assert stat.S_IMODE(path.stat().st_mode) == mode
        write_whole(path, b"new", follow_links=False)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        write_whole(link, b"new", follow_links=False)  # a new file: a link's mode says nothing
        assert stat.S_IMODE(link.lstat().st_mode) == 0o666 & ~mask and not link.is_symlink()
        write_whole(tmp_path / "new", b"new")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~mask
    finally:
        os.umask(earlier)


def test_a_private_file_s_new_content_is_never_public(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.touch()
    path.chmod(0o600)
    modes = []
    monkeypatch.setattr(
        os, "fsync", lambda file: modes.append(stat.S_IMODE(os.fstat(file).st_mode))
    )
    write_whole(path, b"new")
    assert modes == [0o600]


def test_an_owner_is_kept_as_far_as_the_system_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.touch()
    asked = []

    def refuse(name: Path, user: int, group: int) -> None:
        asked.append((user, group))
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    write_whole(path, b"new")
    found = path.stat()
    assert asked == [(found.st_uid, found.st_gid), (-1, found.st_gid)]
    assert path.read_bytes() == b"new"


def test_a_file_that_may_not_be_written_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda name, mode: False)  # as for all but root
    with pytest.raises(UsageError, match="Permission denied"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_devices_are_not_read(tmp_path: Path) -> None:
    endless, pipe = tmp_path / "endless.png", tmp_path / "pipe.png"
    endless.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="a character device, which is no regular file"):
        read_file(endless, pipes=True)
    with pytest.raises(OSError, match="a pipe, which is no regular file"):
        read_file(pipe)
    with pytest.raises(OSError, match="Is a directory"):
        read_file(tmp_path)


def test_pipes_are_read_to_their_end(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb", buffering=0) as file:
            file.write(content[:9])
            time.sleep(0.1)
            file.write(content[9:])

    writer = threading.Timer(0.2, write)  # there is nothing to read at first
    writer.start()
    assert read_file(Path(f"/dev/fd/{reading}"), pipes=True) == content
    writer.join()
    os.close(reading)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="an empty pipe that nobody writes to"):
        read_file(pipe, pipes=True)


def test_files_above_what_a_message_holds_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    with pytest.raises(OSError, match="one of more than 2,147,483,647 bytes"):
        read_file(path)


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
