"""Attention as each exporter should see it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from slimsam_build.graphs.precision import softmax


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax of products, by one operator where the runtime has one.

    Args:
        query: (G, heads, T, d), scaled.
        key: (G, heads, S, d).
        value: (G, heads, S, d).
        bias: added to the scores, and broadcast to (G, heads, T, S).

    Returns:
        (G, heads, T, d)
    """
    if not torch.onnx.is_in_onnx_export():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    return attend_in_steps(query, key, value, bias)


def attend_in_steps(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax of products, by operators that take every size as it comes.

    On an H200 PyTorch's one operator takes a kernel that cuDNN generates, and the first call of a
    size in a thread took 0.35 to 0.5 s. An encoder of one size pays that once, and a decoder with
    every number of prompts and points anew. The decoder's scores are small enough to be written
    down: of a row of 16 prompts of 64 points, the most, 69 tokens by 4,096 image tokens in each of
    8 heads, which are 145 MB in float32, and as much again for their softmax.

    Args and result: see `attend`.
    """
    scores = query @ key.transpose(2, 3)
    return softmax(scores if bias is None else scores + bias, dim=3) @ value
