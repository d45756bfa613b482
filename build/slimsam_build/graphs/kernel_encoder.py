"""The image encoder with the attention kernel, where the kernel runs; elsewhere `FusedEncoder`.

See `slimsam_build.attention_kernel`: the biases of all pairs of tokens are never written.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from slimsam_build.attention_rule import refusal
from slimsam_build.graphs.fused_encoder import FusedEncoder, FusedVisionAttention, FusedVisionBlock

GridAttention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""What computes what `slimsam_build.attention_kernel.grid_attention` does."""


class KernelVisionAttention(FusedVisionAttention):
    """`VisionAttention` by the kernel, or in the plain form where `refusal` says so."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend: tokens (G, grid * grid, C), row-major, to the same shape."""
        if not self.use_rel_pos or refusal(tokens.device, tokens.dtype, self.head_dim):
            return super().forward(tokens)
        from slimsam_build.attention_kernel import grid_attention  # needs the package `triton`

        return self.attend_by(grid_attention, tokens)

    def attend_by(self, grid_attention: GridAttention, tokens: Tensor) -> Tensor:
        """Attend by one operation over queries, keys, values and both tables of positions."""
        n, heads, d = self.grid, self.heads, self.head_dim
        qkv = self.qkv(tokens).reshape(-1, n * n, 3, heads, d)
        # (grid row, grid column, G, heads, d); both products are of matrices, without a copy for
        # every head. Every size but one is a number, so that an exporter writes constants.
        query = qkv.select(2, 0).reshape(-1, n, n, heads, d).permute(1, 2, 0, 3, 4)
        by_row = query.permute(0, 2, 3, 1, 4).reshape(n, -1, d)
        rel_h = self.rel_pos_h.transpose(1, 2) @ by_row.transpose(1, 2)
        by_column = query.permute(1, 2, 3, 0, 4).reshape(n, -1, d)
        rel_w = by_column @ self.rel_pos_w
        attended = grid_attention(
            qkv,
            rel_h.reshape(n, n, -1, heads, n),
            rel_w.reshape(n, -1, heads, n, n),
        )
        return self.proj(attended.reshape(-1, n * n, heads * d))


class KernelVisionBlock(FusedVisionBlock):
    """`VisionBlock` with the kernel."""

    attention_class = KernelVisionAttention


class KernelEncoder(FusedEncoder):
    """`Encoder`, the same function, with the kernel."""

    block_class = KernelVisionBlock
