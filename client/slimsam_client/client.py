"""The client: image and prompts in, masks out, over one gRPC channel."""

from __future__ import annotations

import contextvars
import copy
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar, overload

from numpy.typing import ArrayLike
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slimsam_client import operations
from slimsam_client.calls import Done, Steps, advance
from slimsam_client.connection import Headers, RequestOptions, Tls, channel
from slimsam_client.contract import AUTOMATIC, MODELS, ModelSpec
from slimsam_client.errors import SlimSamError, from_triton, model_not_ready, nothing_answers
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.image import Images, ImageSource
from slimsam_client.many import joined, per_image
from slimsam_client.results import Embedding, Prediction
from slimsam_client.wire import Arrays, check_metadata, from_result, to_inputs, to_outputs

T = TypeVar("T")

SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_FOR_A_LOOK = 5.0


class SlimSam:
    """Segments images on a Triton server that serves the SlimSAM model repository.

    Safe to share between threads. Use it as a context manager, or call `close`. A request that
    finds the server unavailable is tried again, up to five times, within its timeout.

    Args:
        url: host:port of the server's gRPC service.
        timeout: seconds that one request may take; queueing, transport and retries included.
        ssl: True for TLS with the system's certificates, or `Tls` with files, for mutual TLS too.
        headers: gRPC metadata of every request, such as `{"authorization": "Bearer ..."}`; or a
            function that gives it.
        concurrency: how many images of a list are under way at once.

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
    ) -> None:
        self.url = url
        self.concurrency = concurrency
        self._options = RequestOptions(timeout, headers)
        self._triton = InferenceServerClient(**channel(url, ssl))
        self._checked: set[str] = set()
        self._lock = threading.Lock()

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
        self._triton.close()

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
        other._options = RequestOptions(
            self._options.timeout if timeout is None else timeout,
            self._options.headers if headers is None else headers,
            self._options.request_id if request_id is None else request_id,
        )
        return other

    def ready(self) -> bool:
        """Whether a server answers and serves all models."""
        return self._missing() is None

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait for a server that serves all models.

        Args:
            timeout: seconds to wait at most.

        Raises:
            ServerUnavailableError: nothing answered until then.
            ModelNotReadyError: a server answered, but a model was not ready.
        """
        deadline = time.monotonic() + timeout
        while (missing := self._missing()) is not None:
            if time.monotonic() >= deadline:
                raise missing
            time.sleep(SECONDS_BETWEEN_LOOKS)

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
            return self._run_many([operations.embed(one) for one in image])
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
            points: (N, 2), or (P, N, 2) for P prompts, or a list of P arrays (N_i, 2); (x, y) in
                pixels of the original image.
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
            prompts = per_image(
                len(image), points=points, labels=labels, box=box, mask_input=mask_input
            )
            return self._run_many(
                [
                    operations.segment(one, **prompt, multimask_output=multimask_output)
                    for one, prompt in zip(image, prompts, strict=True)
                ]
            )
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
            on_server = self._has(AUTOMATIC)
        return self._run(operations.generate(image, settings, progress, on_server))

    def _run(self, steps: Steps[T]) -> T:
        step = advance(steps, None)
        while not isinstance(step, Done):
            step = advance(steps, self._infer(step.spec, step.arrays))
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

    def _infer(self, spec: ModelSpec, arrays: Arrays) -> Arrays:
        self._check(spec)
        request = self._options.for_request()
        try:
            result = self._triton.infer(
                spec.name, to_inputs(spec, arrays), outputs=to_outputs(spec), **request
            )
        except InferenceServerException as error:
            raise self._translated(error, request["request_id"]) from error
        return from_result(spec, result, self.url)

    def _check(self, spec: ModelSpec) -> None:
        """Compare the server's model with the contract, the first time it is used."""
        if spec.name in self._checked:
            return
        try:
            metadata = self._triton.get_model_metadata(
                spec.name,
                headers=self._options.metadata(),
                as_json=True,
                client_timeout=self._options.timeout,
            )
        except InferenceServerException as error:
            raise self._translated(error) from error
        check_metadata(spec, metadata, self.url)
        with self._lock:
            self._checked.add(spec.name)

    def _missing(self) -> SlimSamError | None:
        """What keeps the server from being ready."""
        if not self._lives():
            return nothing_answers(self.url)
        for spec in MODELS:
            try:
                ready = self._has(spec)
            except SlimSamError as error:
                return error
            if not ready:
                return model_not_ready(self.url, spec.name)
        return None

    def _has(self, spec: ModelSpec) -> bool:
        try:
            return bool(
                self._triton.is_model_ready(
                    spec.name, headers=self._options.metadata(), client_timeout=SECONDS_FOR_A_LOOK
                )
            )
        except InferenceServerException as error:
            raise self._translated(error) from error

    def _lives(self) -> bool:
        try:
            return bool(
                self._triton.is_server_live(
                    headers=self._options.metadata(), client_timeout=SECONDS_FOR_A_LOOK
                )
            )
        except InferenceServerException:
            return False

    def _translated(self, error: InferenceServerException, request_id: str = "") -> SlimSamError:
        unclear = str(error.status()).endswith("UNAVAILABLE")
        return from_triton(error, self.url, unclear and self._lives(), request_id)
