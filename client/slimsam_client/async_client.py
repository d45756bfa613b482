"""The same client for asyncio: `SlimSam`'s methods, to be awaited."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar, overload

from numpy.typing import ArrayLike

from slimsam_client import operations
from slimsam_client.async_connection import AsyncConnection
from slimsam_client.calls import Done, Steps, advance
from slimsam_client.contract import AUTOMATIC
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.image import Images, ImageSource
from slimsam_client.many import checked_concurrency, embed_each, joined, segment_each
from slimsam_client.options import Headers, RequestOptions
from slimsam_client.results import Embedding, Prediction
from slimsam_client.shared_memory.pool import RegionPool
from slimsam_client.tls import Tls

T = TypeVar("T")


class AsyncSlimSam:
    """`SlimSam` for asyncio: the same arguments, results and errors.

    One client serves any number of tasks of one event loop. It may be made before that loop, and
    used again in a later one. Cancelling a task cancels its request on the server. Images are read
    and masks are scaled in threads, so the loop stays free.

    Args:
        url: as for `SlimSam`, like the rest.
        timeout: as for `SlimSam`.
        ssl: as for `SlimSam`.
        headers: as for `SlimSam`.
        concurrency: as for `SlimSam`.
        shared_memory: as for `SlimSam`.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        timeout: float = 30.0,
        *,
        ssl: bool | Tls = False,
        headers: Headers | None = None,
        concurrency: int = 8,
        shared_memory: bool = False,
    ) -> None:
        self.url = url
        self.concurrency = checked_concurrency(concurrency)
        self._options = RequestOptions(timeout, headers)
        self._connection = AsyncConnection(url, ssl, RegionPool() if shared_memory else None)

    async def __aenter__(self) -> AsyncSlimSam:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channel."""
        await self.close()

    async def close(self) -> None:
        """Close the channel; requests in flight fail."""
        await self._connection.close(self._options)

    def with_options(
        self,
        *,
        timeout: float | None = None,
        headers: Headers | None = None,
        request_id: str | None = None,
    ) -> AsyncSlimSam:
        """As `SlimSam.with_options`; not to be awaited."""
        other = copy.copy(self)
        other._options = self._options.changed(timeout, headers, request_id)
        return other

    async def ready(self) -> bool:
        """As `SlimSam.ready`."""
        return await self._connection.missing(self._options) is None

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """As `SlimSam.wait_until_ready`."""
        await self._connection.wait_until_ready(self._options, timeout)

    @overload
    async def embed(self, image: ImageSource) -> Embedding: ...

    @overload
    async def embed(self, image: Images) -> list[Embedding]: ...

    async def embed(self, image: ImageSource | Images) -> Embedding | list[Embedding]:
        """As `SlimSam.embed`."""
        if isinstance(image, list | tuple):
            return await self._run_many(embed_each(image))
        return await self._run(operations.embed(image))

    async def predict(
        self,
        embedding: Embedding,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
    ) -> Prediction:
        """As `SlimSam.predict`."""
        return await self._run(
            operations.predict(embedding, points, labels, box, mask_input, multimask_output)
        )

    @overload
    async def segment(
        self,
        image: ImageSource,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
    ) -> Prediction: ...

    @overload
    async def segment(
        self,
        image: Images,
        points: list[Any] | tuple[Any, ...] | None = None,
        labels: list[Any] | tuple[Any, ...] | None = None,
        box: list[Any] | tuple[Any, ...] | None = None,
        mask_input: list[Any] | tuple[Any, ...] | None = None,
        multimask_output: bool = True,
    ) -> list[Prediction]: ...

    async def segment(
        self,
        image: ImageSource | Images,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
    ) -> Prediction | list[Prediction]:
        """As `SlimSam.segment`."""
        if isinstance(image, list | tuple):
            each = segment_each(
                image,
                multimask_output,
                points=points,
                labels=labels,
                box=box,
                mask_input=mask_input,
            )
            return await self._run_many(each)
        return await self._run(
            operations.segment(image, points, labels, box, mask_input, multimask_output)
        )

    async def generate(
        self,
        image: ImageSource,
        settings: GenerateSettings | None = None,
        progress: Progress | None = None,
        on_server: bool | None = None,
    ) -> list[MaskRecord]:
        """As `SlimSam.generate`; `progress` is called in a thread."""
        if on_server is None:
            on_server = await self._connection.serves(AUTOMATIC, self._options)
        return await self._run(operations.generate(image, settings, progress, on_server))

    async def _run(self, steps: Steps[T]) -> T:
        step = await asyncio.to_thread(advance, steps, None)
        while not isinstance(step, Done):
            with await self._connection.infer(step.spec, step.arrays, self._options) as answer:
                step = await asyncio.to_thread(advance, steps, answer)
        return step.result

    async def _run_many(self, operations_: Sequence[Steps[T]]) -> list[T]:
        limit = asyncio.Semaphore(self.concurrency)

        async def limited(steps: Steps[T]) -> T:
            async with limit:
                return await self._run(steps)

        outcomes = await asyncio.gather(*map(limited, operations_), return_exceptions=True)
        return joined(outcomes)
