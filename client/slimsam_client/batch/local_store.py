"""A batch in a folder, which workers on several machines may share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from slimsam_client.batch.local_files import PART_SUFFIX, part_file, put_on_disk, remove_parts
from slimsam_client.batch.locations import is_url
from slimsam_client.batch.retrying import StorageError
from slimsam_client.errors import SettingsError


class LocalStore:
    """`Store` of a folder.

    Args:
        folder: the folder; it is made when the first file is written.

    Raises:
        SettingsError: it is a file.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"{folder}: expected a folder to write to, got a file")
        self._folder = folder

    def read(self, key: str) -> bytes:
        """As `Store.read`."""
        return (self._folder / key).read_bytes()

    def create(self, key: str, content: bytes) -> bool:
        """As `Store.create`.

        The name is linked to the whole file, which fails where the name is taken.
        """
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_file(path) as (part, file):
            file.write(content)
            put_on_disk(file)
            try:
                os.link(part, path)
            except FileExistsError:
                # NFS repeats a request whose answer was lost, and finds its own link there.
                return part.stat().st_nlink > 1
            except OSError as error:
                if path.exists():
                    return False
                raise StorageError(
                    f"cannot write {path}: expected a file system with hard links and space, got "
                    f"{error.strerror}; give another folder"
                ) from error
        return True

    def replace(self, key: str, content: bytes) -> None:
        """As `Store.replace`."""
        with self.writing(key) as file:
            file.write(content)

    def versions(self, folder: str) -> dict[str, str]:
        """As `Store.versions`."""
        found = {}
        for directory, _, files in os.walk(self._folder / folder):
            for name in files:
                path = Path(directory, name)
                if name.endswith(PART_SUFFIX):
                    continue
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                key = path.relative_to(self._folder).as_posix()
                found[key] = f"{status.st_ino}.{status.st_mtime_ns}"
        return found

    @contextmanager
    def writing(self, key: str) -> Iterator[IO[bytes]]:
        """As `Store.writing`."""
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_file(path) as (part, file):
            yield file
            put_on_disk(file)
            try:
                os.replace(part, path)
            except FileNotFoundError:
                # Of two workers that find all shards done, one has tidied up after it had written
                # all that is left to write.
                if not path.exists():
                    raise

    def holds(self, place: str) -> bool:
        """As `Store.holds`."""
        return not is_url(place)

    def tidy(self) -> None:
        """As `Store.tidy`."""
        remove_parts(self._folder)
