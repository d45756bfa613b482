"""Where artifacts are made, and how they get from there to their places.

A build works in a folder of each model's version directory, where Triton does not look, on the
file system of the artifacts' places. So a server starts beside a build, and after one that was
killed. Without PyTorch: `check` looks for what was left, too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slimsam_build.errors import RepositoryError
from slimsam_build.repository import VERSION
from slimsam_build.versions import add_versions, remove_versions
from slimsam_client.contract import ENCODER

NAME: Final = ".part"
LOCK: Final = "lock"
OLD_NAMES: Final = ".building-*"
"""Folders of slimsam-build 0.1.0, in the repository itself, where Triton takes them for models."""


class Scratch:
    """The folders of one build. `open_scratch` makes it."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._folders: dict[str, Path] = {}

    def folder(self, model: str) -> Path:
        """Give the folder for a model's files, on the file system of their place."""
        if model not in self._folders:
            folder = self._repository / model / VERSION / NAME
            folder.mkdir(parents=True, exist_ok=True)
            self._folders[model] = folder
        return self._folders[model]

    def clear(self) -> None:
        """Remove what was made so far."""
        for folder in self._folders.values():
            _empty(folder)

    def install(self, log: Callable[[str], None]) -> None:
        """Move all files to their places, the reports of all models last.

        Each move is atomic. A build that is killed between two of them leaves a report that does
        not fit its artifact, or reports of two builds, which `check` finds. Meanwhile no version
        of a model names a checkpoint.

        Args:
            log: called with a line about each artifact.
        """
        files = [
            (file, folder.parent / file.name)
            for folder in self._folders.values()
            for file in sorted(folder.iterdir())
            if file.name != LOCK
        ]
        remove_versions(self._repository)
        for file, place in sorted(files, key=lambda pair: pair[0].suffix == ".json"):
            file.replace(place)
            if file.suffix != ".json":
                log(f"installed {place}")
        add_versions(self._repository, log)

    def check_space(self, size: int) -> None:
        """Write as many bytes as an artifact has, and remove them.

        Exporters tell of a full disk in errors of their own, or leave half a file without a word.

        Raises:
            OSError: they cannot be written.
        """
        for folder in self._folders.values():
            probe = folder / "probe"
            try:
                with probe.open("wb") as file:
                    for _ in range(0, size, 1 << 20):
                        file.write(bytes(1 << 20))
            finally:
                probe.unlink(missing_ok=True)


@contextmanager
def open_scratch(repository: Path) -> Iterator[Scratch]:
    """Keep other builds out of a repository, remove what killed ones left, and make folders.

    Args:
        repository: the model repository.

    Raises:
        RepositoryError: another build is at work in it.
        OSError: it cannot be written to.
    """
    home = _home(repository)
    lock = _lock(home)
    try:
        for folder in find_leftovers(repository):
            if folder != home:
                _remove(folder)
        _empty(home)
        yield Scratch(repository)
    finally:
        for folder in repository.glob(f"*/{VERSION}/{NAME}"):
            if folder != home:
                _remove(folder)
        _empty(home)
        # The lock goes last. A build that has begun since keeps the folder: it is not empty.
        try:
            (home / LOCK).unlink(missing_ok=True)
            home.rmdir()
        except OSError:
            pass
        os.close(lock)


def find_leftovers(repository: Path) -> list[Path]:
    """Find folders of builds; without one at work, they are of builds that were killed."""
    return sorted([*repository.glob(OLD_NAMES), *repository.glob(f"*/{VERSION}/{NAME}")])


def is_building(repository: Path) -> bool:
    """Say whether a build is at work in a repository."""
    try:
        file = os.open(_home(repository) / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def _home(repository: Path) -> Path:
    """The folder with the lock, which is of the whole repository."""
    return repository / ENCODER.name / VERSION / NAME


def _lock(home: Path) -> int:
    """Make the folder and lock it; the lock ends with the process, however that ends."""
    while True:
        home.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # a build that ended between these two lines has removed the folder
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise RepositoryError(
                f"{home.parents[2]}: expected no other build at work in this model repository, "
                "found one; start again when it is done"
            ) from error
        except OSError:
            pass  # a file system without locks, where two builds at once are the user's to avoid
        try:
            if os.path.samestat(os.stat(home / LOCK), os.fstat(file)):
                return file
        except FileNotFoundError:
            pass
        os.close(file)  # of a build that has ended since, and has removed this file


def _empty(folder: Path) -> None:
    """Remove what is in a folder, but for the lock."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name != LOCK:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
