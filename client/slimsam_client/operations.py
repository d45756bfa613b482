"""The client's operations on one image, without I/O: see `calls`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import DECODER, ENCODER, ENSEMBLE, MAX_PROMPTS
from slimsam_client.errors import ImageError, SettingsError
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.everything.generator import generate_records
from slimsam_client.everything.remote import request_records
from slimsam_client.image import ImageSource, load_image, preprocess
from slimsam_client.prompts import Prompts, encode_prompts
from slimsam_client.results import Embedding, Prediction
from slimsam_client.wire import choose_masks, prompt_arrays, split_prompts, to_prediction


def embed(image: ImageSource) -> Steps[Embedding]:
    """Encode an image."""
    pixels = load_image(image)
    frame, input_size = preprocess(pixels)
    return (yield from _encode(frame, input_size, _size(pixels.shape)))


def predict(
    embedding: Embedding,
    points: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None,
    multimask_output: bool,
) -> Steps[Prediction]:
    """Segment an encoded image."""
    if not isinstance(embedding, Embedding):
        raise ImageError(
            "embedding: expected an Embedding, as embed gives it, "
            f"got {type(embedding).__name__}; call embed first, or segment with the image"
        )
    prompts = encode_prompts(
        embedding.original_size, embedding.input_size, points, labels, box, mask_input
    )
    return (yield from _decode(embedding, prompts, multimask_output))


def segment(
    image: ImageSource,
    points: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None,
    multimask_output: bool,
) -> Steps[Prediction]:
    """Encode and segment an image in one call; or, with many prompts, in several."""
    pixels = load_image(image)
    size = _size(pixels.shape)
    frame, valid = preprocess(pixels)
    prompts = encode_prompts(size, _size(valid), points, labels, box, mask_input)
    if len(prompts.point_labels) > MAX_PROMPTS:
        embedding = yield from _encode(frame, valid, size)
        return (yield from _decode(embedding, prompts, multimask_output))
    answer = yield Call(ENSEMBLE, {"image": frame, "input_size": valid, **prompt_arrays(prompts)})
    parts = [choose_masks(answer, multimask_output)]
    return to_prediction(parts, prompts, _size(valid), size)


def generate(
    image: ImageSource,
    settings: GenerateSettings | None,
    progress: Progress | None,
    on_server: bool,
) -> Steps[list[MaskRecord]]:
    """Segment everything in an image, here or in the server's model."""
    if isinstance(image, list | tuple):
        raise ImageError("image: expected one image, got a list; call generate for each of them")
    if settings is None:
        settings = GenerateSettings()
    if not isinstance(settings, GenerateSettings):
        raise SettingsError(
            f"settings: expected GenerateSettings, got {type(settings).__name__}; "
            "make them with GenerateSettings(points_per_side=16), for example"
        )
    if not on_server:
        return (yield from generate_records(load_image(image), settings, progress))
    records = yield from request_records(image, settings)
    if progress is not None:
        progress(1, 1)
    return records


def _encode(
    frame: NDArray[np.uint8], input_size: NDArray[np.int32], original_size: tuple[int, int]
) -> Steps[Embedding]:
    answer = yield Call(ENCODER, {"image": frame, "input_size": input_size})
    embeddings = answer["image_embeddings"].copy()
    embeddings.flags.writeable = False
    return Embedding(embeddings, original_size, _size(input_size))


def _decode(embedding: Embedding, prompts: Prompts, multimask_output: bool) -> Steps[Prediction]:
    image = {"image_embeddings": embedding.image_embeddings}
    parts = []
    for part in split_prompts(prompts):
        answer = yield Call(DECODER, {**image, **prompt_arrays(part)})
        parts.append(choose_masks(answer, multimask_output))
    return to_prediction(parts, prompts, embedding.input_size, embedding.original_size)


def _size(shape: tuple[int, ...] | NDArray[np.int32]) -> tuple[int, int]:
    return int(shape[0]), int(shape[1])
