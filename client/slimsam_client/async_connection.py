"""`Connection` for asyncio: the same methods, to be awaited."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import Any, TypeVar

from grpc.aio import UsageError
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slimsam_client.calls import Call, Done
from slimsam_client.channel import channel
from slimsam_client.connection import (
    SECONDS_BETWEEN_LOOKS,
    SECONDS_FOR_A_LOOK,
    SHORTEST_LOOK,
)
from slimsam_client.contract import MODELS, ModelSpec
from slimsam_client.errors import (
    AccessDeniedError,
    SettingsError,
    SlimSamError,
    client_closed,
    from_triton,
    model_not_ready,
    not_up,
)
from slimsam_client.exchange import Exchange, Pause, proceed
from slimsam_client.inference import Lent, infer
from slimsam_client.options import RequestOptions
from slimsam_client.retries import is_passing, pauses
from slimsam_client.shared_memory.pool import RegionPool
from slimsam_client.tls import Tls
from slimsam_client.wire import Arrays, check_metadata

T = TypeVar("T")


class AsyncConnection:
    """A channel to one server; safe to share between the tasks of one event loop.

    Args:
        url: as for `channel`.
        ssl: as for `channel`.
        regions: shared memory for large tensors; None sends them.
    """

    def __init__(self, url: str, ssl: bool | Tls, regions: RegionPool | None = None) -> None:
        self.url = url
        self._regions = regions
        self._arguments = channel(url, ssl)
        self._triton: InferenceServerClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._answered = False
        self._checked: set[str] = set()

    async def close(self, options: RequestOptions) -> None:
        """As `Connection.close`."""
        triton = self._triton if self._loop is asyncio.get_running_loop() else None
        try:
            if self._regions is not None and triton is not None and not self._closed:
                until = time.monotonic() + SECONDS_FOR_A_LOOK
                await self._make(self._regions.close(), options, until)
        finally:
            self._closed = True
            if triton is not None:
                await triton.close()

    async def infer(self, spec: ModelSpec, arrays: Arrays, options: RequestOptions) -> Lent:
        """As `Connection.infer`."""
        until = time.monotonic() + options.timeout
        if spec.name not in self._checked:
            metadata = await self._call(
                "get_model_metadata", options, until, model_name=spec.name, as_json=True
            )
            check_metadata(spec, metadata, self.url)
            self._checked.add(spec.name)
        exchange = infer(Call(spec, arrays), self.url, options.new_id(), self._regions)
        return await self._make(exchange, options, until)

    async def serves(self, spec: ModelSpec, options: RequestOptions) -> bool:
        """As `Connection.serves`."""
        until = time.monotonic() + options.timeout
        return bool(await self._call("is_model_ready", options, until, model_name=spec.name))

    async def missing(
        self, options: RequestOptions, seconds: float = SECONDS_FOR_A_LOOK
    ) -> SlimSamError | None:
        """As `Connection.missing`."""
        until = time.monotonic() + seconds
        lives = False
        try:
            lives = bool(await self._send("is_server_live", options, until))
            for spec in MODELS:
                if not await self._send("is_model_ready", options, until, model_name=spec.name):
                    return model_not_ready(self.url, spec.name)
        except InferenceServerException as error:
            return not_up(error, self.url, lives)
        return None

    async def wait_until_ready(self, options: RequestOptions, seconds: float) -> None:
        """As `Connection.wait_until_ready`."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            look = min(max(left, SHORTEST_LOOK), SECONDS_FOR_A_LOOK)
            missing = await self.missing(options, look)
            if missing is None:
                return
            if left <= 0 or isinstance(missing, AccessDeniedError):
                raise missing
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    async def _make(self, exchange: Exchange[T], options: RequestOptions, until: float) -> T:
        """Make the calls of an exchange, and give its result."""
        with closing(exchange):  # so that one that is cancelled ends at once
            step = proceed(exchange, None)
            while not isinstance(step, Done):
                outcome: object = None
                try:
                    if isinstance(step, Pause):
                        await asyncio.sleep(step.seconds)
                    else:
                        outcome = await self._call(
                            step.method, options, until, step.again, **step.arguments
                        )
                except SlimSamError as error:
                    outcome = error
                step = proceed(exchange, outcome)
            return step.result

    async def _call(
        self,
        method: str,
        options: RequestOptions,
        until: float,
        again: bool = True,
        **arguments: Any,
    ) -> Any:
        """Send a request, and `again` while the server is away and there is time left."""
        waits = pauses()
        while True:
            try:
                return await self._send(method, options, until, **arguments)
            except InferenceServerException as error:
                pause = next(waits)
                in_time = time.monotonic() + pause < until
                if not (again and self._answered and is_passing(error) and in_time):
                    lives = is_passing(error) and await self._lives(options)
                    raise from_triton(
                        error, self.url, lives, arguments.get("request_id", "")
                    ) from error
            await asyncio.sleep(pause)

    async def _send(
        self, method: str, options: RequestOptions, until: float, **arguments: Any
    ) -> Any:
        headers = options.metadata()
        client = self._client()
        try:
            answer = await getattr(client, method)(
                **arguments, headers=headers, client_timeout=until - time.monotonic()
            )
        except (UsageError, asyncio.CancelledError) as error:
            # Closing the channel cancels its calls; those who await them were not cancelled.
            if self._closed and not _is_cancelled():
                raise client_closed(self.url) from error
            raise
        self._answered = True
        return answer

    async def _lives(self, options: RequestOptions) -> bool:
        until = time.monotonic() + SHORTEST_LOOK
        try:
            return bool(await self._send("is_server_live", options, until))
        except InferenceServerException:
            return False

    def _client(self) -> InferenceServerClient:
        """The client of the running event loop: gRPC's channels belong to one.

        It is made at the first request, for applications make their clients before their loops.
        """
        if self._closed:
            raise client_closed(self.url)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise SettingsError(
                    f"{self.url}: expected the event loop in which this client was first used, "
                    "got another one beside it; make a client for each loop"
                )
            self._triton, self._loop = InferenceServerClient(**self._arguments), loop
        return self._triton


def _is_cancelled() -> bool:
    """Whether somebody cancelled the current task; Python 3.10 cannot tell."""
    task = asyncio.current_task()
    return task is not None and hasattr(task, "cancelling") and task.cancelling() > 0
