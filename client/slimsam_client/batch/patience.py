"""Requests to a server that may be away for minutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.errors import (
    ModelNotReadyError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    SlimSamError,
)

T = TypeVar("T")

SECONDS: Final = 600.0
"""So long a server may be away: it takes that long to come back with a large model."""
ATTEMPTS: Final = 3
"""So often a request may fail at a server that is there, before its picture is to blame."""
AWAY: Final = (ModelNotReadyError, ServerBusyError, ServerUnavailableError)
FAILED: Final = (RequestCancelledError, RequestTimeoutError, ServerError)


async def outlast(
    sam: AsyncSlimSam, ask: Callable[[], Awaitable[T]], seconds: float = SECONDS
) -> T:
    """Ask until there is an answer, while the server is away, busy or failing.

    Args:
        sam: the client.
        ask: makes the request; one at a time, so that what was answered is not asked again.
        seconds: how long the server may be away at a stretch.

    Raises:
        SlimSamError: the server was away for longer, has failed ATTEMPTS times, or refuses.
    """
    failures = 0
    since: float | None = None
    while True:
        try:
            return await ask()
        except AWAY as error:
            since = time.monotonic() if since is None else since
            if time.monotonic() - since > seconds:
                raise
            last: SlimSamError = error
        except FAILED as error:
            since = None  # it was there: when it goes away next, it is for another time
            failures += 1
            if failures == ATTEMPTS:
                raise
            last = error
        await asyncio.sleep(1)
        await _wait(sam, seconds, last)


async def _wait(sam: AsyncSlimSam, seconds: float, last: SlimSamError) -> None:
    try:
        await sam.wait_until_ready(seconds)
    except SlimSamError as error:
        raise last from error
