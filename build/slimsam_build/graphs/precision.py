"""A graph in another precision, with float32 where half precision cannot work at all."""

from __future__ import annotations

import copy
from typing import Final, TypeVar

import torch
from torch import nn

FLOAT32_BUFFERS: Final = ("frequencies", "mean", "deviation")
"""Positions need 10 bits before the point for pixels and more behind it; bfloat16 has 8 in all."""

DTYPES: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

Graph = TypeVar("Graph", bound=nn.Module)


def cast(graph: Graph, precision: str) -> Graph:
    """Copy a graph into a precision.

    Args:
        graph: an `Encoder` or `Decoder` in float32; it is not changed.
        precision: "fp32", "fp16" or "bf16".

    Returns:
        A copy whose weights and activations are of that precision, positions excepted.
    """
    result = copy.deepcopy(graph).to(DTYPES[precision])
    for original, module in zip(graph.modules(), result.modules(), strict=True):
        for name in FLOAT32_BUFFERS:
            if name in original._buffers:
                module._buffers[name] = original._buffers[name]
    return result
