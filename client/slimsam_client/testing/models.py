"""The fake models: they take checked inputs and give the repository's models' outputs."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import numpy as np
from numpy.typing import NDArray

from slimsam_client.calls import Done, Steps, advance
from slimsam_client.contract import (
    AUTOMATIC,
    CLICK,
    ENCODER,
    IMAGE,
    MASK_THRESHOLD,
    Arrays,
    ModelSpec,
)
from slimsam_client.errors import (
    ImageError,
    InvalidRequestError,
    MissingExtraError,
    NotKeptError,
    PromptError,
    RequestCancelledError,
    SettingsError,
)
from slimsam_client.serving.automatic import answer_request
from slimsam_client.serving.cache.identity import PictureKeys
from slimsam_client.serving.clicks import ClickLimits, answer_prompt
from slimsam_client.serving.limits import Limits, Watch
from slimsam_client.serving.rows import only_row
from slimsam_client.serving.uploads import UploadLimits, answer_upload
from slimsam_client.testing.memory_store import MemoryStore
from slimsam_client.testing.messages import Refused
from slimsam_client.testing.request_values import is_possible, usable_inputs
from slimsam_client.testing.segmentation import decode, encode


def infer(
    spec: ModelSpec, inputs: Arrays, is_active: Callable[[], bool], kept: MemoryStore, digest: str
) -> Arrays:
    """Answer a request.

    Args:
        spec: the model.
        inputs: tensors of its names, dtypes and dims, with their batch axis.
        is_active: whether somebody still waits; long work ends when nobody does.
        kept: what has been uploaded.
        digest: the digest of the checkpoint that is said to be served.

    Returns:
        The outputs, with their batch axis.

    Raises:
        Refused: everything mode cannot use its picture or settings, a picture cannot be used, a
            prompt is wrong, what it names is not kept, or nobody waits any more.
    """
    if spec is AUTOMATIC:
        return _everything(inputs, is_active)
    if spec is IMAGE:
        return _upload(inputs, is_active, kept, digest)
    if spec is CLICK:
        return _click(inputs, is_active, kept, digest)
    count = len(next(iter(inputs.values())))
    rows = [
        _row(spec, {name: array[index] for name, array in inputs.items()}) for index in range(count)
    ]
    return {tensor.name: np.stack([row[tensor.name] for row in rows]) for tensor in spec.outputs}


def _row(spec: ModelSpec, inputs: Arrays) -> Arrays:
    """Answer a request of one image, without batch axes."""
    if "image" in inputs:
        inputs = {**inputs, "image_embeddings": _embed(inputs["image"], inputs["input_size"])}
    if spec is ENCODER:
        return {"image_embeddings": inputs["image_embeddings"]}
    usable, refused = usable_inputs(inputs)
    masks, scores = decode(
        usable["image_embeddings"],
        usable["point_coords"],
        usable["point_labels"],
        usable["mask_input"][0] > MASK_THRESHOLD if usable["has_mask_input"][0] else None,
    )
    masks[refused] = scores[refused] = np.nan
    return {"low_res_masks": masks, "iou_predictions": scores}


def _embed(image: NDArray[np.uint8], input_size: NDArray[np.int32]) -> NDArray[np.float16]:
    if not is_possible(input_size):
        return np.full(ENCODER.outputs[0].dims, np.nan, np.float16)
    return encode(image, input_size)


def _everything(inputs: Arrays, is_active: Callable[[], bool]) -> Arrays:
    limits = Limits()
    watch = Watch(lambda: not is_active(), limits.max_seconds)
    return _driven(answer_request(inputs, limits, watch))


def _upload(
    inputs: Arrays, is_active: Callable[[], bool], kept: MemoryStore, digest: str
) -> Arrays:
    limits = UploadLimits()
    watch = Watch(lambda: not is_active(), limits.max_seconds)
    return _driven(answer_upload(inputs, kept, PictureKeys(digest), limits, watch))


def _click(inputs: Arrays, is_active: Callable[[], bool], kept: MemoryStore, digest: str) -> Arrays:
    limits = ClickLimits()
    watch = Watch(lambda: not is_active(), limits.max_seconds)
    try:
        row = only_row(inputs)
    except InvalidRequestError as error:
        raise Refused(str(error)) from error
    answer = _driven(answer_prompt(row, kept, PictureKeys(digest), limits, watch))
    return {name: array[None] for name, array in answer.items()}


def _driven(steps: Steps[Arrays]) -> Arrays:
    try:
        step = advance(steps, None)
        while not isinstance(step, Done):
            step = advance(steps, _row(step.spec, step.arrays))
    except RequestCancelledError as error:
        raise Refused(str(error), grpc.StatusCode.CANCELLED) from error
    except NotKeptError as error:
        raise Refused(str(error), grpc.StatusCode.NOT_FOUND) from error
    except (ImageError, PromptError, SettingsError) as error:
        raise Refused(str(error)) from error
    except MissingExtraError as error:
        raise Refused(str(error), grpc.StatusCode.UNIMPLEMENTED) from error
    return step.result
