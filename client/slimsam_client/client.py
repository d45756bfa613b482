"""The client: image and prompts in, masks out, over one gRPC channel."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slimsam_client.contract import DECODER, ENCODER, ENSEMBLE, MODELS, ModelSpec
from slimsam_client.errors import (
    ModelNotReadyError,
    ServerUnavailableError,
    SlimSamError,
    from_triton,
)
from slimsam_client.image import ImageSource, load_image, preprocess
from slimsam_client.prompts import Prompts, encode_prompts
from slimsam_client.results import Embedding, Prediction
from slimsam_client.wire import (
    Arrays,
    check_metadata,
    from_result,
    prompt_arrays,
    split_prompts,
    to_inputs,
    to_outputs,
    to_prediction,
)

SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_FOR_A_LOOK = 5.0


class SlimSam:
    """Segments images on a Triton server that serves the SlimSAM model repository.

    Safe to share between threads. Use it as a context manager, or call `close`.

    Args:
        url: host:port of the server's gRPC service.
        timeout: seconds that one request may take, queueing and transport included.
    """

    def __init__(self, url: str = "localhost:8001", timeout: float = 30.0) -> None:
        self.url = url
        self.timeout = timeout
        # Without channel arguments tritonclient lifts gRPC's 4 MiB limit; with any it does not.
        self._triton = InferenceServerClient(url)
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

    def embed(self, image: ImageSource) -> Embedding:
        """Encode an image, once for any number of `predict` calls.

        Args:
            image: a path, encoded bytes, a binary file, a PIL image, or a uint8 array (H, W),
                (H, W, 3) RGB or (H, W, 4) RGBA. Use `load_image` for its `max_pixels`.

        Returns:
            The embedding.

        Raises:
            ImageError: the image cannot be read or used.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        pixels = load_image(image)
        frame, input_size = preprocess(pixels)
        answer = self._infer(ENCODER, {"image": frame, "input_size": input_size})
        embeddings = answer["image_embeddings"].copy()
        embeddings.flags.writeable = False
        return Embedding(embeddings, _size(pixels.shape), _size(input_size))

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
            points: (N, 2), or (P, N, 2) for P prompts; (x, y) in pixels of the original image.
            labels: (N,) or (P, N); 1 foreground, 0 background; all foreground if not given.
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
        prompts = encode_prompts(
            embedding.original_size, embedding.input_size, points, labels, box, mask_input
        )
        image = {"image_embeddings": embedding.image_embeddings}
        answers = [
            self._infer(DECODER, {**image, **prompt_arrays(part)})
            for part in split_prompts(prompts)
        ]
        return to_prediction(
            answers, prompts, embedding.input_size, embedding.original_size, multimask_output
        )

    def segment(
        self,
        image: ImageSource,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
    ) -> Prediction:
        """Encode and segment an image in one round trip.

        With more prompts than one request holds, the image is encoded once and they follow.

        Args:
            image: as for `embed`.
            points: as for `predict`, like the rest.
            labels: as for `predict`.
            box: as for `predict`.
            mask_input: as for `predict`.
            multimask_output: as for `predict`.

        Returns:
            The prediction.

        Raises:
            ImageError: the image cannot be read or used.
            PromptError: a prompt is not of these shapes or values, or there is none.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        pixels = load_image(image)
        size = _size(pixels.shape)
        frame, valid = preprocess(pixels)
        prompts = encode_prompts(size, _size(valid), points, labels, box, mask_input)
        parts = list(split_prompts(prompts))
        if len(parts) > 1:
            return self.predict(
                self.embed(pixels), points, labels, box, mask_input, multimask_output
            )
        answer = self._segment(frame, valid, prompts)
        return to_prediction([answer], prompts, _size(valid), size, multimask_output)

    def _segment(
        self, frame: NDArray[np.uint8], valid: NDArray[np.int32], prompts: Prompts
    ) -> Arrays:
        image: Arrays = {"image": frame, "input_size": valid}
        return self._infer(ENSEMBLE, {**image, **prompt_arrays(prompts)})

    def _infer(self, spec: ModelSpec, arrays: Arrays) -> Arrays:
        self._check(spec)
        try:
            result = self._triton.infer(
                spec.name, to_inputs(spec, arrays), outputs=to_outputs(spec),
                client_timeout=self.timeout,
            )  # fmt: skip
        except InferenceServerException as error:
            raise self._translated(error) from error
        return from_result(spec, result, self.url)

    def _check(self, spec: ModelSpec) -> None:
        """Compare the server's model with the contract, the first time it is used."""
        if spec.name in self._checked:
            return
        try:
            metadata = self._triton.get_model_metadata(
                spec.name, as_json=True, client_timeout=self.timeout
            )
        except InferenceServerException as error:
            raise self._translated(error) from error
        check_metadata(spec, metadata, self.url)
        with self._lock:
            self._checked.add(spec.name)

    def _missing(self) -> SlimSamError | None:
        """What keeps the server from being ready."""
        if not self._lives():
            return ServerUnavailableError(
                f"{self.url}: expected a Triton server (gRPC), nothing answers; check the address "
                "and start it, for example with slimsam-serve"
            )
        for spec in MODELS:
            try:
                ready = self._triton.is_model_ready(spec.name, client_timeout=SECONDS_FOR_A_LOOK)
            except InferenceServerException as error:
                return self._translated(error)
            if not ready:
                return ModelNotReadyError(
                    f"{self.url}: expected model {spec.name} to be ready, it is not; "
                    "check the server's model repository and log"
                )
        return None

    def _lives(self) -> bool:
        try:
            return bool(self._triton.is_server_live(client_timeout=SECONDS_FOR_A_LOOK))
        except InferenceServerException:
            return False

    def _translated(self, error: InferenceServerException) -> SlimSamError:
        unclear = str(error.status()).endswith("UNAVAILABLE")
        return from_triton(error, self.url, server_lives=unclear and self._lives())


def _size(shape: tuple[int, ...] | NDArray[np.int32]) -> tuple[int, int]:
    return int(shape[0]), int(shape[1])
