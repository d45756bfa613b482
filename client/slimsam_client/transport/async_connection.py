"""`AsyncConnection`: `Connection` for asyncio, with the same methods, to be awaited."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final, TypeVar

from slimsam_client.calls import Done
from slimsam_client.errors import SlimSamError
from slimsam_client.transport.cancellation import advance_in_thread, answer_within
from slimsam_client.transport.channel import channel_settings
from slimsam_client.transport.exchange import Attempt, Attempts, Pause
from slimsam_client.transport.loop_links import LoopLinks
from slimsam_client.transport.options import RequestOptions
from slimsam_client.transport.routes import Routes
from slimsam_client.transport.session import Session
from slimsam_client.transport.shared_memory.pool import RegionPool
from slimsam_client.transport.status import Status, client_closed
from slimsam_client.transport.threads import LOOK
from slimsam_client.transport.tls import Tls

T = TypeVar("T")

GRACE: Final = 0.5
"""gRPC must have ended a request so many seconds after its deadline."""


class AsyncConnection:
    """`Connection` for the tasks of one event loop; arguments and attributes are the same."""

    def __init__(self, url: str, tls: bool | Tls, regions: RegionPool | None = None) -> None:
        self.session = Session(url, regions)
        self._closed = False
        settings = channel_settings(url, tls, one_server=regions is not None)
        self._routes = Routes(settings, lambda each: LoopLinks(each.make_async, each.url))

    async def close(self, options: RequestOptions) -> None:
        """As `Connection.close`."""
        try:
            if not self._routes.any.closed:
                await self.run(self.session.close(), options)
        finally:
            self._closed = True
            async with AsyncExitStack() as closes:  # each of them, whatever another raises
                for links in self._routes.all():
                    for channel in links.close():
                        closes.push_async_callback(channel.close)

    async def run(self, attempts: Attempts[T], options: RequestOptions) -> T:
        """As `Connection.run`; the operation goes on in threads, so that the loop stays free."""
        outcome: object = None
        while not isinstance(step := await advance_in_thread(attempts, outcome), Done):
            outcome = None
            try:
                if isinstance(step, Pause):
                    await self._pause(step.seconds)
                else:
                    outcome = await self._send(step, options)
            except (SlimSamError, Status) as error:
                outcome = error
            except BaseException:
                attempts.close()  # a cancelled operation ends at once
                raise
        return step.result

    async def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._closed:
                raise client_closed(self.session.url)
            await asyncio.sleep(min(left, LOOK))

    async def _send(self, attempt: Attempt, options: RequestOptions) -> bytes:
        metadata = attempt.metadata(options)
        *others, last = self._routes.of(attempt)
        for links in others:
            try:
                return await self._ask(links, attempt, metadata)
            except Status as status:
                if not status.not_reached or attempt.seconds_left() <= 0:
                    raise
        return await self._ask(last, attempt, metadata)

    async def _ask(
        self, route: LoopLinks, attempt: Attempt, metadata: tuple[tuple[str, str], ...]
    ) -> bytes:
        left = attempt.seconds_left()
        links = route.of_running_loop()
        try:
            with self._routes.watching(route), links.request() as channel:
                send = channel.unary_unary(attempt.path)
                call = send(attempt.body, timeout=left, metadata=metadata)
                return await answer_within(max(left, 0) + GRACE, call)
        finally:
            for ended in links.ended():
                await ended.close()
