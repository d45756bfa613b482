"""A real inference through the ensemble: the only proof that a server serves."""

from __future__ import annotations

from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from slimsam_client.contract import ENSEMBLE, FOREGROUND, IMAGE_SIZE, LOW_RES_SIZE, NOT_A_POINT


def probe(url: str, timeout: float) -> str | None:
    """Segment an empty image by one click.

    Args:
        url: host:port of the gRPC service.
        timeout: seconds that it may take.

    Returns:
        None if masks came back, else what came instead.
    """
    inputs: dict[str, NDArray[Any]] = {
        "image": np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
        "input_size": np.full((1, 2), IMAGE_SIZE, np.int32),
        "point_coords": np.full((1, 1, 2, 2), IMAGE_SIZE / 2, np.float32),
        "point_labels": np.array([[[FOREGROUND, NOT_A_POINT]]], np.int32),
        "mask_input": np.zeros((1, 1, LOW_RES_SIZE, LOW_RES_SIZE), np.float32),
        "has_mask_input": np.zeros((1, 1), np.float32),
    }
    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    try:
        with triton.InferenceServerClient(url) as client:
            answer = client.infer(ENSEMBLE.name, tensors, client_timeout=timeout)
    except InferenceServerException as error:
        return str(error.message())
    masks = answer.as_numpy(ENSEMBLE.outputs[0].name)
    expected = (1, 1, *ENSEMBLE.outputs[0].dims[1:])
    if masks is None or masks.shape != expected or not np.isfinite(masks).all():
        return f"masks of shape {expected} expected, got {None if masks is None else masks.shape}"
    return None
