"""Calls of a store that are repeated while it fails."""

from __future__ import annotations

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


class StorageError(SlimSamError):
    """A store does not do what it is asked for."""


def patiently(call: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Call until it succeeds, with pauses that grow.

    Args:
        call: a call of a store that may be repeated.
        what: name of the file, for the message.
        seconds: how long to go on at most.

    Raises:
        OSError: it ended in one of FINAL.
        StorageError: it has failed until then, or no credentials are there.
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
            if _is_refusal(error) or time.monotonic() + pause > deadline:
                raise StorageError(
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


def _is_refusal(error: Exception) -> bool:
    return type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")
