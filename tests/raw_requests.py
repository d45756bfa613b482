"""Requests as plain tritonclient sends them, and everything that can be wrong with one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype

from slimsam_client.contract import DECODER, Arrays


def infer(url: str, model: str, arrays: Arrays, timeout: float = 60) -> triton.InferResult:
    tensors = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    with triton.InferenceServerClient(url) as client:
        return client.infer(model, tensors, client_timeout=timeout)


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


def of_no_bytes(prompts: int, points: int) -> Arrays:
    """One of them is 0, and the other as large as you like."""
    return {
        **decoder_inputs(),
        "point_coords": np.zeros((1, prompts, points, 2), np.float32),
        "point_labels": np.zeros((1, prompts, points), np.int32),
    }


MALFORMED: dict[str, Callable[[], Arrays]] = {
    "wrong dtype": lambda: changed("point_coords", np.zeros((1, 1, 2, 2), np.float64)),
    "wrong dims": lambda: changed("point_coords", np.zeros((1, 1, 2, 3), np.float32)),
    "wrong rank": lambda: changed("point_labels", np.zeros((1, 2), np.int32)),
    "missing input": lambda: {k: v for k, v in decoder_inputs().items() if k != "mask_input"},
    "too large a batch": lambda: {
        name: np.repeat(array, 9, 0) for name, array in decoder_inputs().items()
    },
}
"""For the decoder; Triton itself refuses each: INVALID_ARGUMENT."""

NAN_AT_ONE = np.array([[[[9, 9], [np.nan, 9]], [[9, 9], [9, 9]]]], np.float32)

FORBIDDEN: dict[str, tuple[Callable[[], Arrays], list[bool]]] = {
    "more labels than prompts": (
        lambda: changed("point_labels", np.ones((1, 3, 2), np.int32)),
        [True],
    ),
    "fewer labels than prompts": (
        lambda: {**decoder_inputs(3), "point_labels": np.ones((1, 2, 2), np.int32)},
        [True] * 3,
    ),
    "more labels than points": (
        lambda: changed("point_labels", np.ones((1, 1, 5), np.int32)),
        [True],
    ),
    "one label for two points": (
        lambda: changed("point_labels", np.ones((1, 1, 1), np.int32)),
        [True],
    ),
    "no labels": (lambda: changed("point_labels", np.ones((1, 0, 0), np.int32)), [True]),
    "N = 0": (lambda: decoder_inputs(2, points=0), [True, True]),
    "N = 65": (lambda: decoder_inputs(points=65), [True]),
    "N = 10,000": (lambda: decoder_inputs(points=10_000), [True]),
    "P = 17": (lambda: decoder_inputs(prompts=17), [True] * 16),
    "P = 100,000": (lambda: decoder_inputs(prompts=100_000), [True] * 16),
    "no prompts of 2^30 points": (lambda: of_no_bytes(0, 2**30), []),
    "2^30 prompts of no points": (lambda: of_no_bytes(2**30, 0), [True] * 16),
    "NaN in one of two prompts": (
        lambda: {**decoder_inputs(2), "point_coords": NAN_AT_ONE},
        [True, False],
    ),
    "infinity": (lambda: filled("point_coords", np.inf), [True]),
    "unknown label": (lambda: filled("point_labels", 7), [True]),
    "label below all": (lambda: filled("point_labels", -3), [True]),
    "unknown label in one of two prompts": (
        lambda: {**decoder_inputs(2), "point_labels": np.array([[[1, 1], [1, 4]]], np.int32)},
        [False, True],
    ),
    "NaN mask": (
        lambda: {
            **filled("mask_input", np.nan),
            "has_mask_input": np.ones((1, 1), np.float32),
        },
        [True],
    ),
    "NaN embedding": (lambda: filled("image_embeddings", np.nan), [True]),
    "infinite embedding": (lambda: filled("image_embeddings", np.inf), [True]),
    "half a mask": (lambda: filled("has_mask_input", 0.5), [True]),
    "seven masks": (lambda: filled("has_mask_input", 7), [True]),
    "NaN masks": (lambda: filled("has_mask_input", np.nan), [True]),
    "no prompts": (lambda: decoder_inputs(prompts=0), []),
    "no prompts and no points": (lambda: decoder_inputs(0, 0), []),
    "no prompts with labels": (
        lambda: {**decoder_inputs(0), "point_labels": np.ones((1, 2, 2), np.int32)},
        [],
    ),
    "NaN in an absent point": (
        lambda: {
            **decoder_inputs(),
            "point_coords": NAN_AT_ONE[:, :1],
            "point_labels": np.array([[[1, -2]]], np.int32),
        },
        [False],
    ),
    "NaN in a mask that does not count": (lambda: filled("mask_input", np.nan), [False]),
    "a huge mask that does not count": (lambda: filled("mask_input", 3e38), [False]),
    "a huge mask": (
        lambda: {
            **decoder_inputs(),
            "mask_input": np.where(np.eye(256) > 0, 1e6, -1e6).astype(np.float32)[None, None],
            "has_mask_input": np.ones((1, 1), np.float32),
        },
        [False],
    ),
}
"""For the decoder: what Triton lets through, and which of the answer's prompts are NaN."""

LYING: dict[str, tuple[list[int], list[int]]] = {
    "2^62 prompts": ([1, 2**62, 4, 2], [1, 2**62, 4]),
    "2^62 prompts with labels for one": ([1, 2**62, 4, 2], [1, 1, 2]),
    "2^61 + 1 prompts": ([1, 2**61 + 1, 2, 2], [1, 1, 2]),
    "labels for 2^62 prompts": ([1, 1, 2, 2], [1, 2**62, 4]),
    "2^31 prompts of 2^31 points": ([1, 2**31, 2**31, 2], [1, 1, 2]),
}
"""Shapes of a decoder's coordinates and labels whose bytes wrap around to a few or none. Triton
compares those with what came, and lets the requests through. Its Python backend, and with it every
stand-in, aborts on them; so does the whole server on PyTorch's backend."""


def lying_request(coords: list[int], labels: list[int]) -> service_pb2.ModelInferRequest:
    """Make a request whose contents have as many bytes as Triton takes its shapes for."""
    request = service_pb2.ModelInferRequest(model_name=DECODER.name)
    shapes = {"point_coords": coords, "point_labels": labels}
    for name, array in decoder_inputs().items():
        shape = shapes.get(name, list(array.shape))
        size = math.prod(shape) * array.itemsize % 2**64
        request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=shape)
        request.raw_input_contents.append(array.tobytes()[:size])
    return request


IMPOSSIBLE_SIZES = [(0, 10), (10, 0), (-1, 5), (1025, 10), (10, 100_000)]
"""Values of `input_size` that the encoder answers with NaN."""


def nan_prompts(answer: triton.InferResult) -> list[bool]:
    """Which prompts of a decoder's or the ensemble's answer are NaN, in all their masks."""
    return nan_rows(*(answer.as_numpy(name)[0] for name in ("low_res_masks", "iou_predictions")))


def nan_rows(masks: NDArray[Any], scores: NDArray[Any]) -> list[bool]:
    """Which of masks (P, 4, 256, 256) and scores (P, 4) are NaN; it must be all of a prompt's."""
    assert masks.shape == (len(scores), 4, 256, 256) and scores.shape == (len(scores), 4)
    refused = np.isnan(scores).all(axis=1)
    assert np.array_equal(np.isnan(scores).any(axis=1), refused)
    assert np.array_equal(np.isnan(masks).reshape(len(masks), 4 * 256 * 256).all(axis=1), refused)
    assert np.array_equal(np.isnan(masks).reshape(len(masks), 4 * 256 * 256).any(axis=1), refused)
    found: list[bool] = refused.tolist()
    return found


def assert_forbidden_are_nan(url: str) -> None:
    """Each of FORBIDDEN has its answer of a decoder, and the next good request is as before."""
    good = decoder_inputs()
    expected = infer(url, DECODER.name, good).as_numpy("low_res_masks")
    for name, (make, refused) in FORBIDDEN.items():
        assert nan_prompts(infer(url, DECODER.name, make())) == refused, name
        again = infer(url, DECODER.name, good).as_numpy("low_res_masks")
        assert np.array_equal(again, expected), name
