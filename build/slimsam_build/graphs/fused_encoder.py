"""The image encoder in the form that a GPU's compiler fuses best: `Encoder`'s values, other steps.

Every reshape is a constant, so that no shape is computed at run time; and tables of relative
positions are multiplied in batches of grid rows or columns, so that none is copied for every head.
docs/performance.md has what NVIDIA's builder makes of both forms.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from slimsam_build.graphs.attend import attend
from slimsam_build.graphs.encoder import Encoder, VisionBlock
from slimsam_build.graphs.vision_attention import VisionAttention
from slimsam_client.contract import EMBEDDING_SIZE


class FusedVisionAttention(VisionAttention):
    """`VisionAttention` with tables that are shared by all heads and images."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend: tokens (G, grid * grid, C), row-major, to the same shape."""
        n, heads, d = self.grid, self.heads, self.head_dim
        qkv = self.qkv(tokens).reshape(-1, n * n, 3, heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (G, heads, n * n, d)
        outputs = []
        # In parts as `VisionAttention`'s, each with a table of its own: a compiler would join parts
        # of one table again, and hold the scores of all pairs.
        for top in range(0, n, self.rows):
            rows = min(self.rows, n - top)
            query = q[:, :, top * n : (top + rows) * n]
            bias = self._positions(query, top, rows) if self.use_rel_pos else None
            outputs.append(attend(query, k, v, bias))
        attended = torch.cat(outputs, dim=2) if len(outputs) > 1 else outputs[0]
        return self.proj(attended.transpose(1, 2).reshape(-1, n * n, heads * d))

    def _positions(self, query: Tensor, top: int, rows: int) -> Tensor:
        """Give the bias of some grid rows of queries, (G, heads, rows * n, n * n)."""
        n, heads, d = self.grid, self.heads, self.head_dim
        grid = query.reshape(-1, heads, rows, n, d)
        by_row = grid.permute(2, 0, 1, 3, 4).reshape(rows, -1, d)
        rel_h = by_row @ self.rel_pos_h[top : top + rows]  # (rows, G * heads * n, n)
        rel_h = rel_h.reshape(rows, -1, heads, n, n).permute(1, 2, 0, 3, 4)
        by_column = grid.permute(3, 0, 1, 2, 4).reshape(n, -1, d)
        rel_w = by_column @ self.rel_pos_w  # (n, G * heads * rows, n)
        rel_w = rel_w.reshape(n, -1, heads, rows, n).permute(1, 2, 3, 0, 4)
        return self._sum(rel_h, rel_w, rows)

    def _sum(self, rel_h: Tensor, rel_w: Tensor, rows: int) -> Tensor:
        """Add (G, heads, rows, n, n) of key rows and columns to (G, heads, rows * n, n * n)."""
        n, heads = self.grid, self.heads
        bias = rel_h.unsqueeze(5) + rel_w.unsqueeze(4)  # (G, heads, rows, n, n, n)
        return bias.reshape(-1, heads, rows * n, n * n)


class FusedVisionBlock(VisionBlock):
    """`VisionBlock` with constant reshapes."""

    attention_class = FusedVisionAttention

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, 64, 64, C) to (B, 64, 64, C)."""
        side, window, channels = EMBEDDING_SIZE, self.window, self.lin1.in_features
        across = (side + window - 1) // window
        pad = across * window - side
        x = self.norm1(tokens)
        if across == 1:
            x = self.attention(x.reshape(-1, side * side, channels))
            x = x.reshape(-1, side, side, channels)
        else:
            # Padding comes after the norm, as in SAM: its zeros are attended to.
            x = F.pad(x, [0, 0, 0, pad, 0, pad])
            x = x.reshape(-1, across, window, across, window, channels).transpose(2, 3)
            x = self.attention(x.reshape(-1, window * window, channels))
            x = x.reshape(-1, across, across, window, window, channels).transpose(2, 3)
            x = x.reshape(-1, across * window, across * window, channels)[:, :side, :side]
        tokens = tokens + x.to(tokens.dtype)
        return tokens + self.lin2(F.gelu(self.lin1(self.norm2(tokens)))).to(tokens.dtype)


class FusedEncoder(Encoder):
    """`Encoder`, the same function, for compilers that fuse; see the module."""

    block_class = FusedVisionBlock
