"""Waits of tasks, which may be cancelled at any moment: that is never lost, and ends their work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from slimsam_client.calls import Done, advance
from slimsam_client.transport.exchange import Attempt, Attempts, Pause

T = TypeVar("T")


async def answer_within(seconds: float, call: Awaitable[T]) -> T:
    """As asyncio.wait_for, which before Python 3.12 loses a cancellation that meets the answer.

    Raises:
        asyncio.TimeoutError: no answer came; the call is cancelled.
    """
    answer = asyncio.ensure_future(call)
    try:
        await asyncio.wait({answer}, timeout=seconds)
        if answer.done():
            return answer.result()
        raise asyncio.TimeoutError
    finally:
        if not answer.cancel() and not answer.cancelled():
            answer.exception()  # asyncio logs one that nobody took


async def advance_in_thread(attempts: Attempts[T], outcome: object) -> Attempt | Pause | Done[T]:
    """Advance an operation in a thread; one that is cancelled meanwhile is closed after its step.

    Args:
        attempts: the operation.
        outcome: as for `advance`.
    """
    running = asyncio.ensure_future(asyncio.to_thread(advance, attempts, outcome))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.add_done_callback(lambda _: _close(attempts, running))
        raise


def _close(attempts: Attempts[T], ended: asyncio.Task[Attempt | Pause | Done[T]]) -> None:
    if not ended.cancelled() and ended.exception() is None:
        attempts.close()
