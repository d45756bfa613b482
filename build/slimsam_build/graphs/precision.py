"""A graph in half precision, with islands of float32 where SAM needs them.

    positions          pixels need 10 bits before the point and more behind it; bfloat16 has 8
    LayerNorm          its variance overflows float16 (NVIDIA/TensorRT#1262, segment-anything#696)
    softmax            4096 keys sum up beyond the digits of either half precision
    residual stream    of the encoder: what twelve blocks add up must not be rounded twelve times
    decoder's heads    tiny, and the scores and masks depend on their last digits
    Conv in bfloat16   ONNX has it from opset 22 on only; these two are small

Runtimes that compute LayerNorm and softmax of halves in float32 anyway (PyTorch on CUDA) lose
nothing by these islands.
"""

from __future__ import annotations

import copy
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

FLOAT32_BUFFERS: Final = frozenset({"frequencies", "mean", "deviation", "position"})
FLOAT32_HEADS: Final = frozenset({"hypernetworks", "iou_head"})

DTYPES: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

Graph = TypeVar("Graph", bound=nn.Module)


class Float32Island(nn.Module):
    """A module that computes in float32 between casts.

    Args:
        inner: the module, in float32; it takes and gives one tensor.
        dtype: of the result.
    """

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Compute `inner(x)`."""
        result: Tensor = self.inner(x.float())
        return result.to(self.dtype)


def softmax(scores: Tensor, dim: int) -> Tensor:
    """Softmax in float32, in the precision of the scores."""
    # Not softmax(dtype=...): exporters write that as a softmax of halves and a cast behind it.
    return scores.float().softmax(dim).to(scores.dtype)


def cast(graph: Graph, precision: str) -> Graph:
    """Copy a graph into a precision.

    Args:
        graph: an `Encoder` or `Decoder` in float32; it is not changed.
        precision: "fp32", "fp16" or "bf16".

    Returns:
        A copy whose weights and activations are of that precision, the islands excepted.
    """
    dtype = DTYPES[precision]
    if dtype is torch.float32:
        return copy.deepcopy(graph)
    result = copy.deepcopy(graph).to(dtype)
    for original, module in list(zip(graph.modules(), result.modules(), strict=True)):
        for name, inner in original.named_children():
            no_kernel = dtype is torch.bfloat16 and isinstance(inner, nn.Conv2d)
            if isinstance(inner, nn.LayerNorm) or no_kernel:
                setattr(module, name, Float32Island(copy.deepcopy(inner), dtype))
        for name in FLOAT32_HEADS & {name for name, _ in original.named_children()}:
            heads = copy.deepcopy(original.get_submodule(name))
            if isinstance(heads, nn.ModuleList):
                islands = nn.ModuleList(Float32Island(head, dtype) for head in heads)
                setattr(module, name, islands)
            else:
                setattr(module, name, Float32Island(heads, dtype))
        for name in FLOAT32_BUFFERS & original._buffers.keys():
            module._buffers[name] = original._buffers[name]
    return result
