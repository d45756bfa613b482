"""Checks of outputs before anything is computed: that they can be written, and destroy no input."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from slimsam_client.cli.status import UsageError


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path] = ()) -> None:
    """Refuse files that cannot be written, that are read too, or that are one and the same.

    Args:
        outputs: files to write; None stands for one that was not asked for.
        inputs: files to read.

    Raises:
        UsageError: an output has no directory to lie in, is one, may not be written, is an input
            or another output, through links, too.
    """
    paths = [path for path in outputs if path is not None]
    for path in paths:
        _check_writable(path)
    check_apart(paths, inputs)


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path], follow_links: bool = True) -> None:
    """Refuse outputs that are inputs, or one and the same.

    Args:
        outputs: files to write.
        inputs: files to read.
        follow_links: whether outputs are written as `write_whole` does with links followed.

    Raises:
        UsageError: an output is an input, or another output.
    """
    read: dict[tuple[int, int], Path] = {}
    for path in inputs:
        found = _status(path)
        if found is not None and stat.S_ISREG(found.st_mode):
            read[found.st_dev, found.st_ino] = path
    written: dict[tuple[int, int] | str, Path] = {}
    directories: dict[Path, str] = {}
    for path in outputs:
        found = _status(path, follow_links)
        if found is not None and stat.S_ISCHR(found.st_mode):
            continue  # /dev/null takes everything
        if found is not None and (found.st_dev, found.st_ino) in read:
            raise UsageError(
                f"cannot write {path}: expected another file than those that are read, got "
                f"{read[found.st_dev, found.st_ino]}; give another name"
            )
        key: tuple[int, int] | str
        if found is not None and found.st_nlink == 1:  # its path may be spelled in several ways
            key = found.st_dev, found.st_ino
        elif follow_links:
            key = os.path.realpath(path)
        else:
            if path.parent not in directories:
                directories[path.parent] = os.path.realpath(path.parent)
            key = os.path.join(directories[path.parent], path.name)
        if key in written:
            raise UsageError(
                f"cannot write {path}: expected another file than {written[key]}, which is to be "
                "written, too, got the same; give another name"
            )
        written[key] = path


def _status(path: Path, follow_links: bool = True) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow_links)
    except OSError:  # it is not there, or not to be seen: reading or writing it will fail
        return None


def _check_writable(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"cannot write {path}: expected a file's name, got a directory")
    directory = Path(os.path.realpath(path)).parent
    if mode is None and not directory.is_dir():
        raise UsageError(f"cannot write {path}: expected the directory {directory}, got none")
    replaced = mode is None or stat.S_ISREG(mode)
    if (mode is not None and not os.access(path, os.W_OK)) or (
        replaced and not os.access(directory, os.W_OK | os.X_OK)
    ):
        raise UsageError(
            f"cannot write {path}: expected a file and a directory that may be written, got one "
            "that may not; change its mode, or give another name"
        )
