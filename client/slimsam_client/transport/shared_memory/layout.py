"""The layout of a region: which tensors of a request lie in shared memory, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tritonclient.utils import triton_to_np_dtype

from slimsam_client.contract import ModelSpec

SMALLEST_BYTES: Final = 64 * 1024
"""Smaller tensors are sent in the message, which costs less than a place in a region saves."""
ALIGNMENT: Final = 64


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in a region.

    Attributes:
        offset: offset in the region, in bytes.
        shape: the tensor's shape, with the batch axis where the model has one.
        dtype: the tensor's NumPy dtype.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def end(self) -> int:
        """Offset of the byte behind the tensor."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


Layout = Mapping[str, Place]
"""A layout has places by the tensors' names, inputs before outputs."""


def lay_out(spec: ModelSpec, arrays: Mapping[str, NDArray[Any]]) -> Layout:
    """Give the large tensors of a request a place, outputs included.

    Args:
        spec: the model.
        arrays: its inputs, without batch axis.

    Returns:
        The places. Small tensors, BYTES, arrays of another dtype than the model's, and outputs
        whose size is unknown before the answer have none.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor in spec.inputs:
        array = arrays.get(tensor.name)
        if array is not None and array.dtype == _dtype(tensor.dtype):
            shapes[tensor.name] = array.shape
    prompts = len(arrays["point_labels"]) if "point_labels" in arrays else -1
    for tensor in spec.outputs:
        shape = tuple(prompts if size < 0 else size for size in tensor.dims)
        if min(shape) >= 0:
            shapes[tensor.name] = shape
    dtypes = {tensor.name: _dtype(tensor.dtype) for tensor in (*spec.inputs, *spec.outputs)}
    places: dict[str, Place] = {}
    end = 0
    for name, shape in shapes.items():
        place = Place(end, (1, *shape) if spec.batched else shape, dtypes[name])
        if not dtypes[name].hasobject and place.end - place.offset >= SMALLEST_BYTES:
            places[name] = place
            end = -(-place.end // ALIGNMENT) * ALIGNMENT
    return places


def _dtype(triton: str) -> np.dtype[Any]:
    numpy: DTypeLike = triton_to_np_dtype(triton)
    return np.dtype(numpy)
