"""Where a batch lies: files by their keys, each whole or not there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from slimsam_client.batch.locations import import_fsspec, is_url, local_path
from slimsam_client.errors import SettingsError

CONDITIONAL = ("s3", "s3a")
"""Object stores of these protocols are known to create an object only if there is none."""


class Store(Protocol):
    """Files by keys, which are relative paths with slashes.

    Methods raise FileNotFoundError for a file that is not there, and OSError or StorageError if the
    store fails for longer than it is worth waiting.
    """

    def read(self, key: str) -> bytes:
        """Read a file."""

    def create(self, key: str, content: bytes) -> bool:
        """Write a file in one step unless there is one; give whether this call has written it.

        An object store may say that there is one when the call itself has written it: the answer to
        its first attempt was lost. Who must know puts into the content who wrote it.
        """

    def replace(self, key: str, content: bytes) -> None:
        """Write a file in one step, in place of one that may be there."""

    def versions(self, folder: str) -> dict[str, str]:
        """List the keys below a folder, each with a text that changes when the file is replaced."""

    def writing(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """Write a large file piece by piece; it is there, whole, once the context ends well."""

    def holds(self, place: str) -> bool:
        """Whether a path or URL lies in this very store, so that both fail together."""

    def tidy(self) -> None:
        """Remove what killed workers have left half-written."""


def open_store(place: str) -> Store:
    """Open the store of a path or an s3:// URL.

    Raises:
        SettingsError: it is of another kind, or a file.
        MissingExtraError: what reads such a URL is not installed.
    """
    if not is_url(place):
        from slimsam_client.batch.local_store import LocalStore

        return LocalStore(Path(local_path(place)))
    protocol = place.partition("://")[0]
    if protocol not in CONDITIONAL:
        raise SettingsError(
            f"{place}: expected a folder or an s3:// URL to write to, got {protocol}://; "
            "of other stores it is not known that two workers cannot write the same file"
        )
    import_fsspec()
    from slimsam_client.batch.object_store import ObjectStore

    return ObjectStore(place)
