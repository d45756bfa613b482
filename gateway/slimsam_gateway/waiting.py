"""Work that ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from slimsam_gateway.problems import TIMEOUT, Problem

Result = TypeVar("Result")


async def while_awaited(
    request: Request, work: Coroutine[Any, Any, Result], seconds: float
) -> Result:
    """Give the work's result; cancel it, down to the server's queue, if it is in vain.

    Args:
        request: a request whose body has been read.
        work: what is done for it.
        seconds: how long it may take.

    Raises:
        Problem: it took longer.
        ClientDisconnect: the caller has gone away.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0] in done:
            return tasks[0].result()
        if tasks[1] in done:
            raise ClientDisconnect
        raise Problem(TIMEOUT, f"{TIMEOUT.title}; {TIMEOUT.advice}")
    finally:
        for task in tasks:
            task.cancel()
