"""Self-attention of the image encoder, with decomposed relative positions.

The function is that of ViTDet's attention (arXiv 2203.16527) as SAM uses it; the weights come from
transformers' `SamVisionAttention`. Two things differ in form, not in value: the softmax scale is
folded into the query projection, and global attention works on a few rows of queries at a time, so
that the scores of all 4096 x 4096 pairs never exist at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamVisionAttention

from slimsam_build.graphs.precision import softmax

ROWS_AT_ONCE = 8
"""Grid rows of queries per step of global attention: 8 x 64 queries x 4096 keys per head."""


class VisionAttention(nn.Module):
    """Multi-head self-attention over a square grid of tokens.

    Args:
        source: the attention whose weights are taken.
        grid: side of the token grid: the window, or the whole embedding.
    """

    rel_pos_h: Tensor
    rel_pos_w: Tensor

    def __init__(self, source: SamVisionAttention, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.heads: int = source.num_attention_heads
        self.rows = min(grid, ROWS_AT_ONCE) if grid > 2 * ROWS_AT_ONCE else grid
        channels = source.qkv.in_features
        head_dim = channels // self.heads
        scale = head_dim**-0.5

        self.qkv = nn.Linear(channels, 3 * channels, bias=source.qkv.bias is not None)
        with torch.no_grad():
            self.qkv.weight.copy_(source.qkv.weight)
            self.qkv.weight[:channels] *= scale
            if source.qkv.bias is not None:
                self.qkv.bias.copy_(source.qkv.bias)
                self.qkv.bias[:channels] *= scale
        self.proj = source.proj

        self.use_rel_pos: bool = source.use_rel_pos
        if source.use_rel_pos:
            # The bias is computed from the scaled query, hence the division.
            rel_pos_h = source.get_rel_pos(grid, grid, source.rel_pos_h.detach()) / scale
            rel_pos_w = source.get_rel_pos(grid, grid, source.rel_pos_w.detach()) / scale
        else:
            rel_pos_h = rel_pos_w = torch.zeros(grid, grid, head_dim)
        # (query position, head_dim, key position)
        self.register_buffer("rel_pos_h", rel_pos_h.transpose(1, 2).contiguous())
        self.register_buffer("rel_pos_w", rel_pos_w.transpose(1, 2).contiguous())

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend.

        Args:
            tokens: (G, grid * grid, C), row-major.

        Returns:
            (G, grid * grid, C)
        """
        groups, count, channels = tokens.shape
        n = self.grid
        qkv = self.qkv(tokens).reshape(groups, count, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (G, heads, n * n, d)
        outputs = []
        for top in range(0, n, self.rows):
            rows = min(self.rows, n - top)
            query = q[:, :, top * n : (top + rows) * n]
            bias: Tensor | None = None
            if self.use_rel_pos:
                grid = query.reshape(groups, self.heads, rows, n, -1)
                rel_h = grid @ self.rel_pos_h[top : top + rows]  # (G, heads, rows, n, n)
                rel_w = (grid.transpose(2, 3) @ self.rel_pos_w).transpose(2, 3)
                bias = rel_h.unsqueeze(5) + rel_w.unsqueeze(4)
                bias = bias.reshape(groups, self.heads, rows * n, n * n)
            outputs.append(_attend(query, k, v, bias))
        attended = torch.cat(outputs, dim=2).transpose(1, 2)
        return self.proj(attended.reshape(groups, count, channels))


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax of products, by one operator where the runtime has one."""
    if not torch.onnx.is_in_onnx_export():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    scores = query @ key.transpose(2, 3)
    return softmax(scores if bias is None else scores + bias, dim=3) @ value
