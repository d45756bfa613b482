"""The client's operations on one image, without I/O: see `calls`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import DECODER, ENCODER, ENSEMBLE
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.everything.generator import generate_records
from slimsam_client.everything.remote import request_records
from slimsam_client.image import ImageSource, load_image, preprocess
from slimsam_client.prompts import encode_prompts
from slimsam_client.results import Embedding, Prediction
from slimsam_client.wire import choose_masks, prompt_arrays, split_prompts, to_prediction


def embed(image: ImageSource) -> Steps[Embedding]:
    """Encode an image."""
    pixels = load_image(image)
    frame, input_size = preprocess(pixels)
    answer = yield Call(ENCODER, {"image": frame, "input_size": input_size})
    embeddings = answer["image_embeddings"].copy()
    embeddings.flags.writeable = False
    return Embedding(embeddings, _size(pixels.shape), _size(input_size))


def predict(
    embedding: Embedding,
    points: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None,
    multimask_output: bool,
) -> Steps[Prediction]:
    """Segment an encoded image."""
    prompts = encode_prompts(
        embedding.original_size, embedding.input_size, points, labels, box, mask_input
    )
    image = {"image_embeddings": embedding.image_embeddings}
    parts = []
    for part in split_prompts(prompts):
        answer = yield Call(DECODER, {**image, **prompt_arrays(part)})
        parts.append(choose_masks(answer, multimask_output))
    return to_prediction(parts, prompts, embedding.input_size, embedding.original_size)


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
    if len(list(split_prompts(prompts))) > 1:
        embedding = yield from embed(pixels)
        return (yield from predict(embedding, points, labels, box, mask_input, multimask_output))
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
    settings = settings or GenerateSettings()
    if not on_server:
        return (yield from generate_records(load_image(image), settings, progress))
    records = yield from request_records(image, settings)
    if progress is not None:
        progress(1, 1)
    return records


def _size(shape: tuple[int, ...] | NDArray[np.int32]) -> tuple[int, int]:
    return int(shape[0]), int(shape[1])
