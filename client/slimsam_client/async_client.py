"""The same client for asyncio: `SlimSam`'s methods, to be awaited."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar, overload

from numpy.typing import ArrayLike
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slimsam_client import operations
from slimsam_client.calls import Done, Steps, advance
from slimsam_client.client import SECONDS_BETWEEN_LOOKS, SECONDS_FOR_A_LOOK
from slimsam_client.connection import Headers, RequestOptions, Tls, channel
from slimsam_client.contract import AUTOMATIC, MODELS, ModelSpec
from slimsam_client.errors import SlimSamError, from_triton, model_not_ready, nothing_answers
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.image import Images, ImageSource
from slimsam_client.many import joined, per_image
from slimsam_client.results import Embedding, Prediction
from slimsam_client.wire import Arrays, check_metadata, from_result, to_inputs, to_outputs

T = TypeVar("T")


class AsyncSlimSam:
    """`SlimSam` for asyncio: the same arguments, results and errors.

    One client serves any number of tasks of one event loop. Cancelling a task cancels its request
    on the server. Images are read and masks are scaled in threads, so the loop stays free.

    Args:
        url: as for `SlimSam`, like the rest.
        timeout: as for `SlimSam`.
        ssl: as for `SlimSam`.
        headers: as for `SlimSam`.
        concurrency: as for `SlimSam`.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        timeout: float = 30.0,
        *,
        ssl: bool | Tls = False,
        headers: Headers | None = None,
        concurrency: int = 8,
    ) -> None:
        self.url = url
        self.concurrency = concurrency
        self._options = RequestOptions(timeout, headers)
        self._triton = InferenceServerClient(**channel(url, ssl))
        self._checked: set[str] = set()

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
        await self._triton.close()

    def with_options(
        self,
        *,
        timeout: float | None = None,
        headers: Headers | None = None,
        request_id: str | None = None,
    ) -> AsyncSlimSam:
        """As `SlimSam.with_options`; not to be awaited."""
        other = copy.copy(self)
        other._options = RequestOptions(
            self._options.timeout if timeout is None else timeout,
            self._options.headers if headers is None else headers,
            self._options.request_id if request_id is None else request_id,
        )
        return other

    async def ready(self) -> bool:
        """As `SlimSam.ready`."""
        return await self._missing() is None

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """As `SlimSam.wait_until_ready`."""
        deadline = time.monotonic() + timeout
        while (missing := await self._missing()) is not None:
            if time.monotonic() >= deadline:
                raise missing
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    @overload
    async def embed(self, image: ImageSource) -> Embedding: ...

    @overload
    async def embed(self, image: Images) -> list[Embedding]: ...

    async def embed(self, image: ImageSource | Images) -> Embedding | list[Embedding]:
        """As `SlimSam.embed`."""
        if isinstance(image, list | tuple):
            return await self._run_many([operations.embed(one) for one in image])
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
            prompts = per_image(
                len(image), points=points, labels=labels, box=box, mask_input=mask_input
            )
            return await self._run_many(
                [
                    operations.segment(one, **prompt, multimask_output=multimask_output)
                    for one, prompt in zip(image, prompts, strict=True)
                ]
            )
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
            on_server = await self._has(AUTOMATIC)
        return await self._run(operations.generate(image, settings, progress, on_server))

    async def _run(self, steps: Steps[T]) -> T:
        step = await asyncio.to_thread(advance, steps, None)
        while not isinstance(step, Done):
            answer = await self._infer(step.spec, step.arrays)
            step = await asyncio.to_thread(advance, steps, answer)
        return step.result

    async def _run_many(self, operations_: Sequence[Steps[T]]) -> list[T]:
        limit = asyncio.Semaphore(self.concurrency)

        async def limited(steps: Steps[T]) -> T:
            async with limit:
                return await self._run(steps)

        outcomes = await asyncio.gather(*map(limited, operations_), return_exceptions=True)
        return joined(outcomes)

    async def _infer(self, spec: ModelSpec, arrays: Arrays) -> Arrays:
        await self._check(spec)
        request = self._options.for_request()
        try:
            result = await self._triton.infer(
                spec.name, to_inputs(spec, arrays), outputs=to_outputs(spec), **request
            )
        except InferenceServerException as error:
            raise await self._translated(error, request["request_id"]) from error
        return from_result(spec, result, self.url)

    async def _check(self, spec: ModelSpec) -> None:
        """Compare the server's model with the contract, the first time it is used."""
        if spec.name in self._checked:
            return
        try:
            metadata = await self._triton.get_model_metadata(
                spec.name,
                headers=self._options.metadata(),
                as_json=True,
                client_timeout=self._options.timeout,
            )
        except InferenceServerException as error:
            raise await self._translated(error) from error
        check_metadata(spec, metadata, self.url)
        self._checked.add(spec.name)

    async def _missing(self) -> SlimSamError | None:
        """What keeps the server from being ready."""
        if not await self._lives():
            return nothing_answers(self.url)
        for spec in MODELS:
            try:
                ready = await self._has(spec)
            except SlimSamError as error:
                return error
            if not ready:
                return model_not_ready(self.url, spec.name)
        return None

    async def _has(self, spec: ModelSpec) -> bool:
        try:
            return bool(
                await self._triton.is_model_ready(
                    spec.name, headers=self._options.metadata(), client_timeout=SECONDS_FOR_A_LOOK
                )
            )
        except InferenceServerException as error:
            raise await self._translated(error) from error

    async def _lives(self) -> bool:
        try:
            return bool(
                await self._triton.is_server_live(
                    headers=self._options.metadata(), client_timeout=SECONDS_FOR_A_LOOK
                )
            )
        except InferenceServerException:
            return False

    async def _translated(
        self, error: InferenceServerException, request_id: str = ""
    ) -> SlimSamError:
        unclear = str(error.status()).endswith("UNAVAILABLE")
        return from_triton(error, self.url, unclear and await self._lives(), request_id)
