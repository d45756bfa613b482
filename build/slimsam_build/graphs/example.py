"""Example inputs to trace a graph with: of the contract's shapes, for one image."""

from __future__ import annotations

import torch
from torch import Tensor

from slimsam_build.graphs.axes import free_axes
from slimsam_client.contract import IMAGE_SIZE, MASK_MULTIPLE, ModelSpec

SIZES = {"rows": MASK_MULTIPLE, "columns": 2 * MASK_MULTIPLE}
"""Of axes that cannot be 3, as all others."""

DTYPES = {
    "UINT8": torch.uint8,
    "INT32": torch.int32,
    "FP16": torch.float16,
    "FP32": torch.float32,
}


def example_inputs(spec: ModelSpec) -> tuple[Tensor, ...]:
    """Make one tensor per input of a model, in its order."""
    tensors = []
    for tensor in spec.inputs:
        free = free_axes(tensor)
        dims = [
            SIZES.get(free.get(axis, ""), 3) if dim == -1 else dim
            for axis, dim in enumerate(tensor.dims)
        ]
        example = torch.ones([1, *dims], dtype=DTYPES[tensor.dtype])
        if tensor.name == "input_size":
            example *= IMAGE_SIZE
        tensors.append(example)
    return tuple(tensors)
