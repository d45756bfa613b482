"""The fake models: checked inputs to outputs, as the repository's models compute them."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import numpy as np

from slimsam_client.calls import Done, advance
from slimsam_client.contract import AUTOMATIC, ENCODER, ENSEMBLE, MASK_THRESHOLD, ModelSpec
from slimsam_client.errors import ImageError, MissingExtraError, SettingsError
from slimsam_client.everything.remote import answer_request
from slimsam_client.testing.messages import Refused
from slimsam_client.testing.segmentation import decode, encode
from slimsam_client.validation import find_problem
from slimsam_client.wire import Arrays


def infer(spec: ModelSpec, inputs: Arrays, is_active: Callable[[], bool]) -> Arrays:
    """Answer a request.

    Args:
        spec: the model.
        inputs: of its names, dtypes and dims, with their batch axis.
        is_active: whether somebody still waits; long work ends when nobody does.

    Returns:
        The outputs, with their batch axis.

    Raises:
        Refused: a value is not of the contract, or nobody waits any more.
    """
    if spec is AUTOMATIC:
        return _everything(inputs, is_active)
    if problem := find_problem(inputs):
        where = f"in ensemble '{spec.name}', " if spec is ENSEMBLE else ""
        raise Refused(f"{where}{problem}")
    count = len(next(iter(inputs.values())))
    rows = [
        _row(spec, {name: array[index] for name, array in inputs.items()}) for index in range(count)
    ]
    return {tensor.name: np.stack([row[tensor.name] for row in rows]) for tensor in spec.outputs}


def _row(spec: ModelSpec, inputs: Arrays) -> Arrays:
    """Answer a request of one image, without batch axes."""
    embeddings = (
        encode(inputs["image"], inputs["input_size"])
        if "image" in inputs
        else inputs["image_embeddings"]
    )
    if spec is ENCODER:
        return {"image_embeddings": embeddings}
    has_mask_input = inputs["has_mask_input"][0] > 0
    masks, scores = decode(
        embeddings,
        inputs["point_coords"],
        inputs["point_labels"],
        inputs["mask_input"][0] > MASK_THRESHOLD if has_mask_input else None,
    )
    return {"low_res_masks": masks, "iou_predictions": scores}


def _everything(inputs: Arrays, is_active: Callable[[], bool]) -> Arrays:
    steps = answer_request(inputs)
    try:
        step = advance(steps, None)
        while not isinstance(step, Done):
            if not is_active():
                raise Refused("cancelled", grpc.StatusCode.CANCELLED)
            step = advance(steps, _row(step.spec, step.arrays))
    except (ImageError, SettingsError) as error:
        raise Refused(str(error)) from error
    except MissingExtraError as error:
        raise Refused(str(error), grpc.StatusCode.UNIMPLEMENTED) from error
    return step.result
