"""Requests as plain tritonclient sends them, and everything that can be wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

Arrays = dict[str, NDArray[Any]]


def infer(url: str, model: str, arrays: Arrays) -> triton.InferResult:
    tensors = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    with triton.InferenceServerClient(url) as client:
        return client.infer(model, tensors, client_timeout=60)


def encoder_inputs() -> Arrays:
    return {
        "image": np.zeros((1, 1024, 1024, 3), np.uint8),
        "input_size": np.array([[768, 1024]], np.int32),
    }


def decoder_inputs(prompts: int = 1, points: int = 2) -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "image_embeddings": rng.normal(0, 1, (1, 256, 64, 64)).astype(np.float16),
        "point_coords": rng.uniform(0, 1024, (1, prompts, points, 2)).astype(np.float32),
        "point_labels": np.ones((1, prompts, points), np.int32),
        "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        "has_mask_input": np.zeros((1, 1), np.float32),
    }


def ensemble_inputs(prompts: int = 1, points: int = 2) -> Arrays:
    arrays = {**encoder_inputs(), **decoder_inputs(prompts, points)}
    del arrays["image_embeddings"]
    return arrays


def changed(name: str, value: Any) -> Arrays:
    arrays = decoder_inputs()
    arrays[name] = value
    return arrays


def filled(name: str, value: float) -> Arrays:
    arrays = decoder_inputs()
    arrays[name] = np.full_like(arrays[name], value)
    return arrays


MALFORMED: dict[str, Callable[[], Arrays]] = {
    "wrong dtype": lambda: changed("point_coords", np.zeros((1, 1, 2, 2), np.float64)),
    "wrong dims": lambda: changed("point_coords", np.zeros((1, 1, 2, 3), np.float32)),
    "wrong rank": lambda: changed("point_labels", np.zeros((1, 2), np.int32)),
    "missing input": lambda: {k: v for k, v in decoder_inputs().items() if k != "mask_input"},
    "too large a batch": lambda: {
        name: np.repeat(array, 9, 0) for name, array in decoder_inputs().items()
    },
    "P unequal": lambda: changed("point_labels", np.ones((1, 2, 2), np.int32)),
    "N unequal": lambda: changed("point_labels", np.ones((1, 1, 3), np.int32)),
    "NaN": lambda: filled("point_coords", np.nan),
    "infinity": lambda: filled("point_coords", np.inf),
    "unknown label": lambda: filled("point_labels", 7),
    "N = 0": lambda: decoder_inputs(points=0),
    "P = 100,000": lambda: decoder_inputs(prompts=100_000),
    "N = 10,000": lambda: decoder_inputs(points=10_000),
    "NaN mask": lambda: filled("mask_input", np.nan),
    "NaN embedding": lambda: filled("image_embeddings", np.nan),
    "half a mask": lambda: filled("has_mask_input", 0.5),
}
"""For the decoder; each is INVALID_ARGUMENT."""
