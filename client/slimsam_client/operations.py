"""The client's operations on one image, as generators of calls (see `calls`).

They read image files, but do not use the network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.answers import Choice, Chosen, as_bool, choose_masks, to_prediction
from slimsam_client.calls import AskDigest, Call, Done, Operation, Steps, advance
from slimsam_client.clicks.predict import predict_uploaded
from slimsam_client.contract import (
    BULK_DECODER,
    CONTINUED_PRIORITY,
    DECODER,
    ENCODER,
    ENSEMBLE,
    Arrays,
    ModelSpec,
)
from slimsam_client.errors import ImageError, SettingsError, StaleEmbeddingError
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.everything.generator import generate_records
from slimsam_client.everything.remote import request_records
from slimsam_client.image.load import ImageSource, load_image, preprocess
from slimsam_client.prompts.encode import Prompts, encode_prompts, prompt_arrays, split_prompts
from slimsam_client.quoting import quoted_value
from slimsam_client.results import Embedding, MaskKind, Prediction, UploadedImage

T = TypeVar("T")


def embed(image: ImageSource) -> Operation[Embedding]:
    """Encode an image."""
    return (yield from _encode(_framed(image)))


def predict(
    embedding: Embedding | UploadedImage,
    points: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None,
    multimask_output: bool,
    masks: MaskKind = "all",
    keep_masks: bool = True,
) -> Operation[Prediction]:
    """Segment an encoded or uploaded image."""
    choice = Choice(multimask_output, masks)
    keep_masks = as_bool(keep_masks, "keep_masks")
    if isinstance(embedding, UploadedImage):
        prompt = (points, labels, box, mask_input)
        return (yield from predict_uploaded(embedding, *prompt, choice, keep_masks))
    if not isinstance(embedding, Embedding):
        raise ImageError(
            "embedding: expected an Embedding, as embed gives it, or an UploadedImage, "
            f"got {type(embedding).__name__}; call embed or upload first, or segment with the image"
        )
    prompts = encode_prompts(
        embedding.original_size, embedding.input_size, points, labels, box, mask_input
    )
    return (yield from _decode(embedding, prompts, choice))


def segment(
    image: ImageSource,
    points: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None,
    multimask_output: bool,
    masks: MaskKind = "all",
) -> Operation[Prediction]:
    """Encode and segment an image, within one timeout; no prompts take no call.

    Two calls do so, and not one of the ensemble `slimsam`: what an ensemble of Triton has put into
    a queue is computed even when its caller has cancelled it or waits no more (`ScheduleSteps` of
    core's ensemble_scheduler.cc looks at that between the steps only).
    """
    choice = Choice(multimask_output, masks)
    framed = _framed(image)
    size, valid = framed.original_size, _size(framed.input_size)
    prompts = encode_prompts(size, valid, points, labels, box, mask_input)
    if len(prompts.point_labels) == 0:
        return to_prediction([], choice, prompts, valid, size)
    embedding = yield from _encode(framed)
    try:
        return (yield from _decode(embedding, prompts, choice, continues=True))
    except StaleEmbeddingError:  # the last server of this checkpoint has gone in between
        embedding = yield from _encode(framed, continues=True)
        return (yield from _decode(embedding, prompts, choice, continues=True))


def segment_in_one_call(image: ImageSource, points: ArrayLike) -> Steps[Arrays]:
    """Have the ensemble `slimsam` answer once, for those who ask whether it does."""
    framed = _framed(image)
    prompts = encode_prompts(framed.original_size, _size(framed.input_size), points)
    arrays: Arrays = {**framed.arrays, **prompt_arrays(prompts)}
    return (yield Call(ENSEMBLE, arrays))


def generate(
    image: ImageSource | UploadedImage,
    settings: GenerateSettings | None,
    progress: Progress | None,
    on_server: bool,
) -> Operation[list[MaskRecord]]:
    """Segment everything in an image, in this process or in the server's model."""
    if isinstance(image, list | tuple):
        raise ImageError("image: expected one image, got a list; call generate for each of them")
    on_server = as_bool(on_server, "on_server")
    if progress is not None and (not callable(progress) or iscoroutinefunction(progress)):
        raise SettingsError(
            "progress: expected a function of how many requests are done and how many there are, "
            f"which is not awaited, got {quoted_value(progress)}"
        )
    size = None
    if isinstance(image, UploadedImage):
        size = image.original_size if image.is_reduced else None
        image = image.content
    if settings is None:
        settings = GenerateSettings()
    if not isinstance(settings, GenerateSettings):
        raise SettingsError(
            f"settings: expected GenerateSettings, got {type(settings).__name__}; "
            "make them with GenerateSettings(points_per_side=16), for example"
        )
    if not on_server:
        steps = generate_records(load_image(image), settings, progress, original_size=size)
        return (yield from _by_one_model(steps))
    records = yield from request_records(image, settings, size)
    if progress is not None:
        progress(1, 1)
    return records


@dataclass(frozen=True, eq=False)
class _Framed:
    """An image in the encoder's frame; its own pixels, which may be many more, are let go.

    Attributes:
        frame: (1024, 1024, 3) uint8, RGB.
        input_size: (2,) int32, (height, width) of the image in the frame.
        original_size: (height, width) of the image.
    """

    frame: NDArray[np.uint8]
    input_size: NDArray[np.int32]
    original_size: tuple[int, int]

    @property
    def arrays(self) -> Arrays:
        """The encoder's inputs."""
        return {"image": self.frame, "input_size": self.input_size}


def _framed(image: ImageSource) -> _Framed:
    pixels = load_image(image)
    return _Framed(*preprocess(pixels), _size(pixels.shape))


def _encode(framed: _Framed, continues: bool = False) -> Operation[Embedding]:
    try:
        return (yield from _encode_once(framed, continues))
    except StaleEmbeddingError:  # the server that answered has gone, and the others have another
        return (yield from _encode_once(framed, continues=True))


def _encode_once(framed: _Framed, continues: bool) -> Operation[Embedding]:
    # It is asked before, too: if the checkpoint changes meanwhile, the embedding is refused.
    yield AskDigest(continues=continues)
    answer = yield Call(ENCODER, framed.arrays, continues=True)
    embeddings = answer["image_embeddings"].copy()
    embeddings.flags.writeable = False
    digest = yield AskDigest(answered=True, continues=True)
    return Embedding(embeddings, framed.original_size, _size(framed.input_size), digest)


def _decode(
    embedding: Embedding, prompts: Prompts, choice: Choice, continues: bool = False
) -> Operation[Prediction]:
    image = {"image_embeddings": embedding.image_embeddings}
    chosen: list[Chosen] = []
    for part in split_prompts(prompts):
        arrays = {**image, **prompt_arrays(part)}
        model, priority = _way(part, begun=continues or bool(chosen))
        answer = yield Call(model, arrays, embedding.digest, continues and not chosen, priority)
        chosen.append(choose_masks(answer, choice))
    return to_prediction(chosen, choice, prompts, embedding.input_size, embedding.original_size)


def _way(prompts: Prompts, begun: bool) -> tuple[ModelSpec, int | None]:
    """Which model decodes prompts, and with which priority in its queue."""
    if len(prompts.point_labels) == 1:
        return DECODER, None
    return BULK_DECODER, CONTINUED_PRIORITY if begun else None


def _by_one_model(steps: Steps[T]) -> Operation[T]:
    """Have all crops encoded and decoded by the checkpoint of the first, or not at all."""
    digest = None
    step = advance(steps, None)
    while not isinstance(step, Done):
        first = step.spec is ENCODER and digest is None
        if first:
            yield AskDigest()
        elif step.spec in (ENCODER, BULK_DECODER):
            step = replace(step, digest=digest)
        step = advance(steps, (yield step))
        if first:
            digest = yield AskDigest(answered=True, continues=True)
    return step.result


def _size(shape: tuple[int, ...] | NDArray[np.int32]) -> tuple[int, int]:
    return int(shape[0]), int(shape[1])
