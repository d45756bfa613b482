"""Self-attention of the image encoder, with decomposed relative positions.

The function is that of ViTDet's attention (arXiv 2203.16527) as SAM uses it; the weights come from
transformers' `SamVisionAttention`. Three things differ in form, not in value: the softmax scale is
folded into the query projection; global attention works on a part of the queries at a time, so
that the scores of all 4096 x 4096 pairs never exist at once; and heads are padded with zeros to
whole vectors, because pruning leaves odd ones (SlimSAM-77 has 14 channels a head).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamVisionAttention

from slimsam_build.graphs.attend import attend

ROWS_AT_ONCE = 32
"""Grid rows of queries per step of global attention: 32 x 64 queries x 4096 keys per head, whose
bias takes 400 MB of float32 for 12 heads and each image of a batch. Fewer rows take less, and more
time on a CPU, where each step packs all keys and values anew.
"""

VECTOR = 8
"""Channels of a head are padded to a multiple: float32s of AVX2, and what CUDA's kernels want."""


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
        self.rows = min(grid, ROWS_AT_ONCE)
        channels = source.qkv.in_features
        head_dim = channels // self.heads
        scale = head_dim**-0.5
        self.head_dim = -(-head_dim // VECTOR) * VECTOR
        padding = self.head_dim - head_dim

        has_bias = source.qkv.bias is not None
        self.qkv = nn.Linear(channels, 3 * self.heads * self.head_dim, bias=has_bias)
        self.proj = nn.Linear(self.heads * self.head_dim, channels)
        with torch.no_grad():
            weight = source.qkv.weight.reshape(3, self.heads, head_dim, channels).clone()
            weight[0] *= scale
            self.qkv.weight.copy_(F.pad(weight, [0, 0, 0, padding]).flatten(0, 2))
            if has_bias:
                bias = source.qkv.bias.reshape(3, self.heads, head_dim).clone()
                bias[0] *= scale
                self.qkv.bias.copy_(F.pad(bias, [0, padding]).flatten())
            weight = source.proj.weight.reshape(channels, self.heads, head_dim)
            self.proj.weight.copy_(F.pad(weight, [0, padding]).flatten(1))
            self.proj.bias.copy_(source.proj.bias)

        self.use_rel_pos: bool = source.use_rel_pos
        if source.use_rel_pos:
            # The bias is computed from the scaled query, hence the division.
            rel_pos_h = source.get_rel_pos(grid, grid, source.rel_pos_h.detach()) / scale
            rel_pos_w = source.get_rel_pos(grid, grid, source.rel_pos_w.detach()) / scale
        else:
            rel_pos_h = rel_pos_w = torch.zeros(grid, grid, head_dim)
        # (query position, head_dim, key position)
        for name, rel_pos in (("rel_pos_h", rel_pos_h), ("rel_pos_w", rel_pos_w)):
            padded = F.pad(rel_pos, [0, padding]).transpose(1, 2)
            self.register_buffer(name, padded.contiguous())

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend.

        Args:
            tokens: (G, grid * grid, C), row-major.

        Returns:
            (G, grid * grid, C)
        """
        groups, count, _ = tokens.shape
        n = self.grid
        qkv = self.qkv(tokens).reshape(groups, count, 3, self.heads, self.head_dim)
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
            outputs.append(attend(query, k, v, bias))
        attended = torch.cat(outputs, dim=2).transpose(1, 2)
        return self.proj(attended.flatten(2))
