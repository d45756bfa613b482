"""A batch in a bucket of S3, or of what speaks its protocol."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

from slimsam_client.batch.locations import file_system
from slimsam_client.batch.retrying import PATIENCE, patiently

T = TypeVar("T")


class ObjectStore:
    """`Store` of a prefix in a bucket.

    The address of another store than Amazon's, and the credentials, come as for any client of S3:
    AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and so on.

    Args:
        place: s3://BUCKET/PREFIX.
        patience: seconds for which a call is repeated while the store fails.

    Raises:
        MissingExtraError: s3fs is not installed.
    """

    def __init__(self, place: str, patience: float = PATIENCE) -> None:
        self._system, root = file_system(place.rstrip("/"))
        self._root = f"{root}/"
        self._patience = patience

    def read(self, key: str) -> bytes:
        """As `Store.read`."""
        content: bytes = self._ask(lambda: self._system.cat_file(self._root + key), key)
        return content

    def create(self, key: str, content: bytes) -> bool:
        """As `Store.create`, by a request with the condition `If-None-Match: *`."""

        def put() -> bool:
            try:
                self._system.pipe_file(self._root + key, content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if _is_failed_condition(error):
                    return False
                raise
            return True

        return self._ask(put, key)

    def replace(self, key: str, content: bytes) -> None:
        """As `Store.replace`."""
        self._ask(lambda: self._system.pipe_file(self._root + key, content), key)

    def versions(self, folder: str) -> dict[str, str]:
        """As `Store.versions`; all pages of the listing."""
        found = self._ask(lambda: self._system.find(self._root + folder, detail=True), folder)
        return {
            path.removeprefix(self._root): str(entry.get("ETag"))
            for path, entry in found.items()
            if path.startswith(f"{self._root}{folder}/")
        }

    @contextmanager
    def writing(self, key: str) -> Iterator[IO[bytes]]:
        """As `Store.writing`; the file is sent at the end, in parts if it is large.

        A file of fsspec's own that is closed by an error would leave the half of it as an object.
        """
        with tempfile.NamedTemporaryFile(prefix="slimsam-") as file:
            yield file
            file.flush()
            self._ask(lambda: self._system.put_file(file.name, self._root + key), key)

    def holds(self, place: str) -> bool:
        """As `Store.holds`: all buckets are at one address."""
        return place.partition("://")[0] in self._system.protocol

    def tidy(self) -> None:
        """As `Store.tidy`: an object is never half-written."""

    def _ask(self, call: Callable[[], T], key: str) -> T:
        return patiently(call, self._root + key, self._patience)


def _is_failed_condition(error: OSError) -> bool:
    """Whether the store said 412, which s3fs has names for in Amazon's wording alone."""
    response: Any = getattr(error.__cause__, "response", None) or {}
    return (
        response.get("Error", {}).get("Code") in ("PreconditionFailed", "412")
        or response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412
    )
