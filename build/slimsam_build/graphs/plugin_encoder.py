"""The image encoder with one ONNX node for each attention, which TensorRT gives to a plugin.

See `slimsam_build.targets.tensorrt.attention_plugin`. The node is no operator of ONNX: it has the
plugin's domain and name, and only a runtime that knows the plugin takes the file.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from slimsam_build.graphs.fused_encoder import FusedEncoder, FusedVisionBlock
from slimsam_build.graphs.kernel_encoder import KernelVisionAttention

DOMAIN: Final = "slimsam"
NAME: Final = "grid_attention"


class GridAttentionNode(torch.autograd.Function):
    """`attention_kernel.grid_attention` in PyTorch's words, and in ONNX a node of its own."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        """Attend: see `attention_kernel.grid_attention`."""
        groups, count, _, heads, _ = qkv.shape
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (G, heads, n * n, d)
        # (G, heads, query row, query column, key row, key column)
        bias = rel_h.permute(2, 3, 0, 4, 1).unsqueeze(5) + rel_w.permute(1, 2, 3, 0, 4).unsqueeze(4)
        bias = bias.reshape(groups, heads, count, count)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0).transpose(1, 2)

    @staticmethod
    def symbolic(g: Any, qkv: Any, rel_h: Any, rel_w: Any) -> Any:
        """Write the node, with what TensorRT's parser looks a plugin up by."""
        return g.op(
            f"{DOMAIN}::{NAME}",
            qkv,
            rel_h,
            rel_w,
            # Parsers of older releases do not look at a node's domain.
            plugin_namespace_s=DOMAIN,
            plugin_version_s="1",
            # The plugin's code is in the plan; without it, Python would have to run with the plan.
            aot_i=1,
        )


class PluginVisionAttention(KernelVisionAttention):
    """`VisionAttention` as one node; without relative positions, the plain form."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend: tokens (G, grid * grid, C), row-major, to the same shape."""
        if not self.use_rel_pos:
            return super().forward(tokens)
        return self.attend_by(GridAttentionNode.apply, tokens)


class PluginVisionBlock(FusedVisionBlock):
    """`VisionBlock` with the node."""

    attention_class = PluginVisionAttention


class PluginEncoder(FusedEncoder):
    """`Encoder`, the same function, with the node."""

    block_class = PluginVisionBlock
