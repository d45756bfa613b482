"""Calls of a store that are repeated while it fails."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from slimsam_client.errors import SlimSamError
from slimsam_client.quoting import quoted

T = TypeVar("T")

PATIENCE: Final = 60.0
"""Seconds for which a failing store is asked again."""
LONGEST_PAUSE: Final = 5.0
FINAL: Final = (
    FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError,
)  # fmt: skip
"""After these errors of the system another attempt has the same end."""
TOO_SLOW, TOO_MANY = 408, 429
"""Of HTTP's refusals these two may pass."""


class StorageError(SlimSamError):
    """A store does not do what it is asked for."""


class CredentialsError(StorageError):
    """This machine has no credentials for a store."""


def patiently(call: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Call until it succeeds, with pauses that grow.

    Args:
        call: a call of a store that may be repeated.
        what: name of the file, for the message.
        seconds: how long to go on at most.

    Raises:
        OSError: it ended in one of FINAL, or the request itself is at fault.
        CredentialsError: no credentials are there.
        StorageError: it has failed until then.
    """
    deadline = time.monotonic() + seconds
    pause = 0.1
    while True:
        try:
            return call()
        except FINAL:
            raise
        except Exception as error:
            if not _may_pass(error):
                raise
            refusal = _refusal(error)
            if refusal is not None:
                raise OSError(errno.EINVAL, quoted(refusal), what) from error
            no_credentials = _has_no_credentials(error)
            if no_credentials or time.monotonic() + pause > deadline:
                kind = CredentialsError if no_credentials else StorageError
                raise kind(
                    f"{what}: expected an answer of the store within {seconds:g} s, got "
                    f"{quoted(f'{type(error).__name__}: {error}')}; check its address, its "
                    "credentials and that it is there, and run the same again to go on"
                ) from error
        time.sleep(pause * random.uniform(0.5, 1))  # workers that failed together come apart
        pause = min(2 * pause, LONGEST_PAUSE)


def _may_pass(error: Exception) -> bool:
    """Whether it is an error of a store or a network, not a fault of the code."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError | TimeoutError) or bool(
        libraries & {"aiohttp", "asyncio", "botocore", "fsspec", "s3fs"}
    )


def _refusal(error: Exception) -> str | None:
    """What is wrong with the request itself: its address, or so says a server of HTTP.

    S3's statuses say less: its 400 may be a slow upload, its 409 two that write at once.
    """
    status = getattr(error, "status", None)  # aiohttp's errors have one
    if isinstance(status, int) and 400 <= status < 500 and status not in (TOO_SLOW, TOO_MANY):
        return f"{status} {getattr(error, 'message', '')}"
    return f"{type(error).__name__}: {error}" if isinstance(error, ValueError) else None


def _has_no_credentials(error: Exception) -> bool:
    return type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")
