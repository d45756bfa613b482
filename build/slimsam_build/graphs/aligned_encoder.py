"""The image encoder in the form that PyTorch fuses on CUDA: `FusedEncoder`'s values and steps.

PyTorch's attention takes an added bias in two of its kernels, cuDNN's and the one that is called
memory-efficient. The latter wants each row of the bias to begin at a multiple of 8 elements, or of
16 in older versions, and copies a bias of which that is not true: with the windows' 196 keys that
would be 23 MB in half precision for each layer and image. Here the sum is written where rows have
their place already. Rules: `preprocess_mask` of PyTorch's aten/src/ATen/native/transformers.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from slimsam_build.graphs.fused_encoder import FusedEncoder, FusedVisionAttention, FusedVisionBlock

ALIGNMENT: Final = 16
"""Elements; what older versions ask for is right for newer ones."""


class AlignedVisionAttention(FusedVisionAttention):
    """`FusedVisionAttention` whose bias has rows that begin at multiples of `ALIGNMENT`."""

    def _sum(self, rel_h: Tensor, rel_w: Tensor, rows: int) -> Tensor:
        n, heads = self.grid, self.heads
        if n * n % ALIGNMENT == 0:
            return super()._sum(rel_h, rel_w, rows)
        row = -(-n * n // ALIGNMENT) * ALIGNMENT
        bias = rel_h.new_empty(rel_h.shape[0], heads, rows * n, row)[..., : n * n]
        # Of the same memory, so that nothing is copied.
        parts = bias.unflatten(3, (n, n)).unflatten(2, (rows, n))
        torch.add(rel_h.unsqueeze(5), rel_w.unsqueeze(4), out=parts)
        return bias


class AlignedVisionBlock(FusedVisionBlock):
    """`FusedVisionBlock` with aligned biases."""

    attention_class = AlignedVisionAttention


class AlignedEncoder(FusedEncoder):
    """`Encoder`, the same function, for PyTorch's kernels of CUDA; see the module."""

    block_class = AlignedVisionBlock
