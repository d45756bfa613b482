"""`AsyncSlimSam`, the client for asyncio: `SlimSam`'s methods, to be awaited."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar, overload

from numpy.typing import ArrayLike

from slimsam_client import operations
from slimsam_client.calls import Operation
from slimsam_client.clicks.upload import upload
from slimsam_client.contract import AUTOMATIC, CLICK, IMAGE
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.image.load import Images, ImageSource
from slimsam_client.many import embed_each, joined, segment_each, upload_each
from slimsam_client.newest import NewestPrompts
from slimsam_client.parity.model_info import ModelInfo, ServedParity, measure_parity, request_info
from slimsam_client.results import Embedding, MaskKind, Prediction, UploadedImage
from slimsam_client.settings import ClientSettings, ConfiguredClient, client_settings
from slimsam_client.transport.async_connection import AsyncConnection
from slimsam_client.transport.options import Headers, RequestOptions, checked_seconds
from slimsam_client.transport.tls import Tls
from slimsam_client.transport.tracing import operation_span

T = TypeVar("T")


class AsyncSlimSam(ConfiguredClient):
    """`SlimSam` for asyncio: the same arguments, results and errors.

    One client serves any number of tasks of one event loop. It may be made before that loop, and
    used again in a later one. Cancelling a task cancels its request on the server. Images are read,
    tensors are packed and checked, and masks are scaled in threads, so the loop stays free.

    Args:
        url: as for `SlimSam`, like the rest.
        timeout: as for `SlimSam`.
        tls: as for `SlimSam`.
        headers: as for `SlimSam`.
        concurrency: as for `SlimSam`.
        shared_memory: as for `SlimSam`.
        ssl: as for `SlimSam`.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        timeout: float = 30.0,
        *,
        tls: bool | Tls = False,
        headers: Headers | None = None,
        concurrency: int = 8,
        shared_memory: bool = False,
        ssl: bool | Tls | None = None,
    ) -> None:
        self._connect(client_settings(url, timeout, tls, headers, concurrency, shared_memory, ssl))

    def _connect(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._connection = AsyncConnection(settings.url, settings.tls, settings.regions())

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

    async def ready(self) -> bool:
        """As `SlimSam.ready`."""
        session = self._connection.session
        return (
            await self._connection.run(session.missing(self._options.timeout), self._options)
            is None
        )

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """As `SlimSam.wait_until_ready`."""
        seconds = checked_seconds(timeout, or_zero=True)
        waiting = self._connection.session.wait_until_ready(seconds)
        await self._connection.run(waiting, self._options)

    async def model_info(self) -> ModelInfo:
        """As `SlimSam.model_info`."""
        return await self._run(request_info())

    async def measure_parity(self) -> ServedParity:
        """As `SlimSam.measure_parity`."""
        return await self._run(measure_parity())

    @overload
    async def embed(self, image: ImageSource) -> Embedding: ...

    @overload
    async def embed(self, image: Images) -> list[Embedding]: ...

    async def embed(self, image: ImageSource | Images) -> Embedding | list[Embedding]:
        """As `SlimSam.embed`."""
        if isinstance(image, list | tuple):
            return await self._run_many(embed_each(image))
        return await self._run(operations.embed(image))

    @overload
    async def upload(self, image: ImageSource) -> UploadedImage | Embedding: ...

    @overload
    async def upload(self, image: Images) -> list[UploadedImage] | list[Embedding]: ...

    async def upload(
        self, image: ImageSource | Images
    ) -> UploadedImage | Embedding | list[UploadedImage] | list[Embedding]:
        """As `SlimSam.upload`."""
        session = self._connection.session
        asking = session.serves(self._options, IMAGE, CLICK)
        if not await self._connection.run(asking, self._options):
            return await self.embed(image)
        if isinstance(image, list | tuple):
            return await self._run_many(upload_each(image))
        return await self._run(upload(image))

    async def predict(
        self,
        embedding: Embedding | UploadedImage,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        *,
        masks: MaskKind = "all",
        keep_masks: bool = True,
    ) -> Prediction:
        """As `SlimSam.predict`."""
        return await self._run(
            operations.predict(
                embedding, points, labels, box, mask_input, multimask_output, masks, keep_masks
            )
        )

    def newest(self, image: Embedding | UploadedImage) -> NewestPrompts:
        """Give what segments an image by prompts of which only the newest matters.

        What nobody refines is asked for with `keep_masks=False`, so that it takes no room on the
        server from masks that somebody does.

        Args:
            image: what `embed` or `upload` returned.
        """
        return NewestPrompts(functools.partial(self.predict, image))

    @overload
    async def segment(
        self,
        image: ImageSource,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        *,
        masks: MaskKind = "all",
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
        *,
        masks: MaskKind = "all",
    ) -> list[Prediction]: ...

    async def segment(
        self,
        image: ImageSource | Images,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        *,
        masks: MaskKind = "all",
    ) -> Prediction | list[Prediction]:
        """As `SlimSam.segment`."""
        prompts = (points, labels, box, mask_input)
        if isinstance(image, list | tuple):
            return await self._run_many(segment_each(image, *prompts, multimask_output, masks))
        return await self._run(operations.segment(image, *prompts, multimask_output, masks))

    async def generate(
        self,
        image: ImageSource | UploadedImage,
        settings: GenerateSettings | None = None,
        progress: Progress | None = None,
        on_server: bool | None = None,
        timeout: float | None = None,
    ) -> list[MaskRecord]:
        """As `SlimSam.generate`; `progress` is called in a thread."""
        if on_server is None:
            asking = self._connection.session.serves(self._options, AUTOMATIC)
            on_server = await self._connection.run(asking, self._options)
        options = self._options.for_generate(timeout, on_server)
        return await self._run(operations.generate(image, settings, progress, on_server), options)

    async def _run(self, steps: Operation[T], options: RequestOptions | None = None) -> T:
        options = options or self._options
        session = self._connection.session
        with operation_span(steps, session.url, options.request_id):
            return await self._connection.run(session.run(steps, options), options)

    async def _run_many(self, operations_: Sequence[Operation[T]]) -> list[T]:
        limit = asyncio.Semaphore(self.concurrency)

        async def limited(steps: Operation[T]) -> T:
            async with limit:
                return await self._run(steps)

        outcomes = await asyncio.gather(*map(limited, operations_), return_exceptions=True)
        return joined(outcomes)
