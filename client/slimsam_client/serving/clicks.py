"""`slimsam_click` inside the server's model: a kept picture's id and a prompt in, masks out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimsam_client.answers import Chosen, choose_masks
from slimsam_client.calls import Call, Steps
from slimsam_client.clicks.answer import (
    MAX_ANSWER_BYTES,
    MAX_POLYGON_PIXELS,
    ClickAnswer,
    answer_click,
)
from slimsam_client.clicks.request import MAX_PROMPT_BYTES, ClickRequest
from slimsam_client.contract import BULK_DECODER, DECODER, LOW_RES_SIZE, NOT_KEPT, Arrays
from slimsam_client.errors import NotKeptError, PromptError
from slimsam_client.prompts.encode import prompt_arrays
from slimsam_client.serving.cache.identity import PictureKeys, from_id, new_mask_key, to_id
from slimsam_client.serving.limits import Watch
from slimsam_client.serving.numbers import checked_numbers
from slimsam_client.serving.picture_store import PictureStore


@dataclass(frozen=True)
class ClickLimits:
    """What one click may ask for; the names are those of config.pbtxt's parameters.

    Attributes:
        max_seconds: seconds from the start to the answer.
        max_prompt_bytes: bytes of the prompt's JSON.
        max_answer_bytes: bytes of all masks of an answer together.
        max_polygon_pixels: pixels of the box of a mask that is given as polygons.
        max_waiting: requests of several prompts that an instance has accepted; others are told that
            it is busy.
    """

    max_seconds: int = 60
    max_prompt_bytes: int = MAX_PROMPT_BYTES
    max_answer_bytes: int = MAX_ANSWER_BYTES
    max_polygon_pixels: int = MAX_POLYGON_PIXELS
    max_waiting: int = 16


def answer_prompt(
    inputs: Arrays,
    cache: PictureStore,
    keys: PictureKeys | None,
    limits: ClickLimits,
    watch: Watch,
) -> Steps[Arrays]:
    """Answer a request to the server's model slimsam_click.

    Args:
        inputs: the request's tensors, without a batch axis.
        cache: where pictures and masks are kept.
        keys: names them; None if it is not known what is served, so that none can be used.
        limits: what the request may ask for.
        watch: ends the work, between two masks at the latest.

    Returns:
        The answer's tensors.

    Raises:
        PromptError: the id is none, the prompt is not what its schema says, does not fit the
            picture, or asks for more than a limit.
        NotKeptError: the picture or the mask is not kept.
        RequestCancelledError: the watch says so.
        MissingExtraError: polygons are asked for, and contourpy is not installed.
        ServerError: the decoder gave NaN or infinity.
    """
    watch.check()
    for name in ("image_id", "prompt"):  # Triton counts inputs, and takes mask_input for one
        if name not in inputs:
            raise PromptError(f"{name}: expected one, got none")
    key = from_id(inputs["image_id"][0], "image_id")
    request = ClickRequest.from_json(inputs["prompt"][0], limits.max_prompt_bytes)
    if request.forget:
        cache.forget(key)
        return _to_tensors(answer_click(_nothing(request), "rle", (1, 1), (1, 1)), [])
    picture = cache.get_picture(key) if keys is not None and keys.made(key) else None
    if picture is None:
        raise NotKeptError(f"{NOT_KEPT}picture {to_id(key)}; send it again to slimsam_image")
    mask = _mask_of(request, key, cache, inputs.get("mask_input"))
    prompts = request.encode(picture.original_size, picture.input_size, mask)
    chosen = _nothing(request)
    if len(prompts.point_labels):
        arrays = {"image_embeddings": picture.image_embeddings, **prompt_arrays(prompts)}
        model = DECODER if len(prompts.point_labels) == 1 else BULK_DECODER
        found = checked_numbers(model, (yield Call(model, arrays)))
        chosen = choose_masks(found, request.choice)
    answer = answer_click(
        chosen,
        request.format,
        picture.input_size,
        picture.original_size,
        watch.check,
        limits.max_answer_bytes,
        limits.max_polygon_pixels,
    )
    logits = answer.low_res_logits.reshape(-1, LOW_RES_SIZE, LOW_RES_SIZE)
    if not request.keep_masks:
        return _to_tensors(answer, [b""] * len(logits))
    return _to_tensors(answer, [_kept(one, key, cache) for one in logits])


def _mask_of(
    request: ClickRequest, key: bytes, cache: PictureStore, given: NDArray[np.float32] | None
) -> NDArray[Any] | None:
    if request.mask_id is None:
        return given
    if given is not None:
        raise PromptError("mask_id: expected it or mask_input, got both; send the one to refine")
    mask = cache.get_mask(key, from_id(request.mask_id, "mask_id"))
    if mask is None:
        raise NotKeptError(
            f"{NOT_KEPT}mask {request.mask_id} of this picture; send the prompt that gave it again"
        )
    return mask


def _nothing(request: ClickRequest) -> Chosen:
    """Give the scores and logits of no objects."""
    count = request.choice.count
    logits = np.zeros((0, count, LOW_RES_SIZE, LOW_RES_SIZE), np.float16)
    return np.zeros((0, count), np.float32), logits


def _kept(logits: NDArray[np.float16], key: bytes, cache: PictureStore) -> bytes:
    """Keep a mask's logits (256, 256), and give its id."""
    mask_key = new_mask_key()
    cache.put_mask(key, mask_key, logits)
    return to_id(mask_key).encode()


def _to_tensors(answer: ClickAnswer, mask_ids: list[bytes]) -> Arrays:
    """Give the answer's tensors; the ids are of its masks one after the other."""
    ids = np.empty(answer.scores.size, np.object_)
    ids[:] = mask_ids
    return {
        "masks": answer.masks,
        "scores": answer.scores,
        "boxes": answer.boxes,
        "areas": answer.areas,
        "mask_ids": ids.reshape(answer.scores.shape),
    }
