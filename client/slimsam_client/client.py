"""The client: image and prompts in, masks out, over one gRPC channel."""

from __future__ import annotations

import contextvars
import copy
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar, overload

from numpy.typing import ArrayLike

from slimsam_client import operations
from slimsam_client.calls import Done, Steps, advance
from slimsam_client.connection import Connection
from slimsam_client.contract import AUTOMATIC
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.image import Images, ImageSource
from slimsam_client.many import checked_concurrency, embed_each, joined, segment_each
from slimsam_client.options import Headers, RequestOptions
from slimsam_client.results import Embedding, Prediction
from slimsam_client.shared_memory.pool import RegionPool
from slimsam_client.tls import Tls

T = TypeVar("T")


class SlimSam:
    """Segments images on a Triton server that serves the SlimSAM model repository.

    Safe to share between threads. Use it as a context manager, or call `close`.

    A request that finds the server away is sent again, after pauses that grow to two seconds, for
    as long as its timeout allows: it outlasts a restart. A client that never had an answer reports
    at once that nothing answers; `wait_until_ready` waits for a server that is yet to start.

    Args:
        url: host:port of the server's gRPC service.
        timeout: seconds that one request may take; queueing, transport and retries included.
        ssl: True for TLS with gRPC's root certificates, or `Tls` with files, for mutual TLS too.
        headers: gRPC metadata of every request, such as `{"authorization": "Bearer ..."}`; or a
            function that gives it, which is called for every attempt and must not take long.
        concurrency: how many images of a list are under way at once.
        shared_memory: True moves images, embeddings and masks through shared memory instead of
            gRPC; for a server on this host that allows it.

    Raises:
        SettingsError: a setting is wrong.
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
        self._connection = Connection(url, ssl, RegionPool() if shared_memory else None)

    def __enter__(self) -> SlimSam:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channel."""
        self.close()

    def close(self) -> None:
        """Close the channel; requests in flight fail."""
        self._connection.close(self._options)

    def with_options(
        self,
        *,
        timeout: float | None = None,
        headers: Headers | None = None,
        request_id: str | None = None,
    ) -> SlimSam:
        """Give a client with other options on the same channel: `sam.with_options(timeout=2)`.

        Args:
            timeout: seconds that one request may take.
            headers: gRPC metadata, in place of this client's.
            request_id: id of the requests, for the server's log and traces; made up if not given.

        Returns:
            The client. Closing either closes both.
        """
        other = copy.copy(self)
        other._options = self._options.changed(timeout, headers, request_id)
        return other

    def ready(self) -> bool:
        """Whether a server answers and serves all models."""
        return self._connection.missing(self._options) is None

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait for a server that serves all models.

        Args:
            timeout: seconds to wait at most.

        Raises:
            ServerUnavailableError: nothing answered until then.
            ModelNotReadyError: a server answered, but a model was not ready.
            AccessDeniedError: it wants other headers.
        """
        self._connection.wait_until_ready(self._options, timeout)

    @overload
    def embed(self, image: ImageSource) -> Embedding: ...

    @overload
    def embed(self, image: Images) -> list[Embedding]: ...

    def embed(self, image: ImageSource | Images) -> Embedding | list[Embedding]:
        """Encode an image, once for any number of `predict` calls.

        Args:
            image: a path, encoded bytes, a binary file, a PIL image, or a uint8 array (H, W),
                (H, W, 3) RGB or (H, W, 4) RGBA; use `load_image` for its `max_pixels`. Or a list
                of images, which are sent side by side.

        Returns:
            The embedding; for a list of images a list, in their order.

        Raises:
            ImageError: the image cannot be read or used.
            BatchError: images of a list failed; it carries the others' results.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        if isinstance(image, list | tuple):
            return self._run_many(embed_each(image))
        return self._run(operations.embed(image))

    def predict(
        self,
        embedding: Embedding,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
    ) -> Prediction:
        """Segment an encoded image.

        Args:
            embedding: of `embed`.
            points: (N, 2), or (P, N, 2) for P prompts, or a list of P arrays (N_i, 2), of which
                some may be empty where there are boxes; (x, y) in pixels of the original image.
            labels: (N,), (P, N), or a list of P arrays (N_i,); 1 foreground, 0 background; all
                foreground if not given.
            box: (4,), or (P, 4) for P prompts; x0, y0, x1, y1 in pixels of the original image.
            mask_input: (256, 256), one of an earlier answer's low_res_logits.
            multimask_output: three candidates per prompt, for ambiguous prompts such as one
                click; or one mask.

        Returns:
            The prediction. Masks take P * M * H * W bytes.

        Raises:
            PromptError: a prompt is not of these shapes or values, or there is none.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        return self._run(
            operations.predict(embedding, points, labels, box, mask_input, multimask_output)
        )

    @overload
    def segment(
        self,
        image: ImageSource,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
    ) -> Prediction: ...

    @overload
    def segment(
        self,
        image: Images,
        points: list[Any] | tuple[Any, ...] | None = None,
        labels: list[Any] | tuple[Any, ...] | None = None,
        box: list[Any] | tuple[Any, ...] | None = None,
        mask_input: list[Any] | tuple[Any, ...] | None = None,
        multimask_output: bool = True,
    ) -> list[Prediction]: ...

    def segment(
        self,
        image: ImageSource | Images,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
    ) -> Prediction | list[Prediction]:
        """Encode and segment an image in one round trip.

        With more prompts than one request holds, the image is encoded once and they follow.

        Args:
            image: as for `embed`; or a list of images, with a list of each kind of prompts.
            points: as for `predict`, like the rest.
            labels: as for `predict`.
            box: as for `predict`.
            mask_input: as for `predict`.
            multimask_output: as for `predict`; the same for all images.

        Returns:
            The prediction; for a list of images a list, in their order.

        Raises:
            ImageError: the image cannot be read or used.
            PromptError: a prompt is not of these shapes or values, or there is none.
            BatchError: images of a list failed; it carries the others' results.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        if isinstance(image, list | tuple):
            each = segment_each(
                image,
                multimask_output,
                points=points,
                labels=labels,
                box=box,
                mask_input=mask_input,
            )
            return self._run_many(each)
        return self._run(
            operations.segment(image, points, labels, box, mask_input, multimask_output)
        )

    def generate(
        self,
        image: ImageSource,
        settings: GenerateSettings | None = None,
        progress: Progress | None = None,
        on_server: bool | None = None,
    ) -> list[MaskRecord]:
        """Segment everything in an image.

        Args:
            image: as for `embed`.
            settings: of everything mode; SAM's defaults if not given.
            progress: called with (requests done, requests in all); on the server, once at the end.
            on_server: True runs it in the server's model slimsam_automatic, in one round trip,
                for which `timeout` must be long enough; False here, with a request per 64 points;
                None on the server if the model is there.

        Returns:
            A record for each mask, in SAM's order.

        Raises:
            ImageError: the image cannot be read or used.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        if on_server is None:
            on_server = self._connection.serves(AUTOMATIC, self._options)
        return self._run(operations.generate(image, settings, progress, on_server))

    def _run(self, steps: Steps[T]) -> T:
        step = advance(steps, None)
        while not isinstance(step, Done):
            with self._connection.infer(step.spec, step.arrays, self._options) as answer:
                step = advance(steps, answer)
        return step.result

    def _run_many(self, operations_: Sequence[Steps[T]]) -> list[T]:
        with ThreadPoolExecutor(self.concurrency, "slimsam") as pool:
            futures: list[Future[T]] = [
                pool.submit(contextvars.copy_context().run, self._run, steps)
                for steps in operations_
            ]
            try:
                outcomes = [future.exception() or future.result() for future in futures]
            except BaseException:  # Ctrl-C: what has not begun is not begun
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return joined(outcomes)
