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
    scores = query @ key.transpose(2, 3)
    return softmax(scores if bias is None else scores + bias, dim=3) @ value
