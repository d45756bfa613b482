"""Prompts to tokens: the prompt encoder of SAM (arXiv 2304.02643, appendix A).

Weights come from transformers' `SamPromptEncoder`. Labels choose by arithmetic, not by control
flow, so one graph serves every mixture of prompts.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamMaskEmbedding

from slimsam_build.graphs.channels_last import layer_norm, linear_of_patches
from slimsam_client.contract import (
    ABSENT,
    EMBEDDING_SIZE,
    IMAGE_SIZE,
    NOT_A_POINT,
)

MASKED = -30000.0
"""Added to the score of an absent token: its weight becomes exactly 0, in float16 too."""

LARGEST_HALF: Final = 60000.0
"""What sums in float16 are to stay within: its largest number is 65504, and they are rounded."""


class PointEmbedding(nn.Module):
    """Points and box corners to sparse tokens."""

    frequencies: Tensor
    label_embeddings: Tensor

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        encoder = model.prompt_encoder
        frequencies = model.shared_image_embedding.positional_embedding.detach()
        self.register_buffer("frequencies", 2 * math.pi * frequencies)  # (2, C / 2)
        # Rows: background, foreground, box top-left, box bottom-right, not a point.
        embeddings = [embedding.weight.detach() for embedding in encoder.point_embed]
        embeddings.append(encoder.not_a_point_embed.weight.detach())
        self.register_buffer("label_embeddings", torch.cat(embeddings))

    def positions(self, coords: Tensor) -> Tensor:
        """Encode (..., 2) positions in [0, 1], (x, y), as (..., C) random Fourier features."""
        x, y = (2 * coords - 1).unsqueeze(-1).unbind(-2)
        # Not a matrix product: a runtime may compute those in bfloat16, 4 pixels apart at 1024.
        phase = x * self.frequencies[0] + y * self.frequencies[1]
        return torch.cat([phase.sin(), phase.cos()], dim=-1)

    def grid(self) -> Tensor:
        """Encode the centers of the embedding's cells, (4096, C), row-major."""
        centers = (torch.arange(EMBEDDING_SIZE) + 0.5) / EMBEDDING_SIZE
        y, x = torch.meshgrid(centers, centers, indexing="ij")
        return self.positions(torch.stack([x, y], dim=-1).flatten(0, 1))

    def forward(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Embed points.

        Args:
            coords: (B, P, N, 2) float32, (x, y) in the 1024 frame.
            labels: (B, P, N) int32, the contract's point labels.

        Returns:
            (B, P, N, C)
        """
        of_label = self.label_embeddings
        positions = self.positions((coords + 0.5) / IMAGE_SIZE).to(of_label.dtype)  # pixel centers
        labels = labels.unsqueeze(3)
        tokens = torch.where(labels >= 0, positions, torch.zeros_like(positions))
        tokens = tokens + (labels == 0).to(tokens.dtype) * of_label[0]
        tokens = tokens + (labels == 1).to(tokens.dtype) * of_label[1]
        tokens = tokens + (labels == 2).to(tokens.dtype) * of_label[2]
        tokens = tokens + (labels == 3).to(tokens.dtype) * of_label[3]
        return tokens + (labels == NOT_A_POINT).to(tokens.dtype) * of_label[4]


def absent_bias(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """Score bias per token, (...) like `labels`: 0, or MASKED where a token is absent."""
    return (labels == ABSENT).to(dtype) * MASKED


class MaskEmbedding(nn.Module):
    """Low-res logits of an earlier answer to a dense embedding, channels last.

    Two 2x2 convolutions of stride 2 and a 1x1 one, written as matrix products over 4x4 pixels.
    """

    no_mask: Tensor

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        source: SamMaskEmbedding = model.prompt_encoder.mask_embed
        self.lin1 = linear_of_patches(source.conv1)
        self.norm1 = layer_norm(source.layer_norm1)
        self.lin2 = linear_of_patches(source.conv2)
        self.norm2 = layer_norm(source.layer_norm2)
        self.lin3 = linear_of_patches(source.conv3)
        self.register_buffer("no_mask", model.prompt_encoder.no_mask_embed.weight.detach()[0])
        # With logits of 1 and more, a product is at most so many times the largest of them.
        weight, bias = self.lin1.weight.detach(), self.lin1.bias.detach()
        gain = float((weight.abs().sum(1) + bias.abs()).max())
        self.largest = min(LARGEST_HALF, LARGEST_HALF / gain)

    def rounded(self, mask_input: Tensor) -> Tensor:
        """Round float32 logits to the weights' precision; of float16, to where none overflows."""
        if self.no_mask.dtype == torch.float16:
            mask_input = mask_input.clamp(-self.largest, self.largest)
        return mask_input.to(self.no_mask.dtype)

    def forward(self, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        """Embed masks.

        Args:
            mask_input: (B, 1, 256, 256) float logits.
            has_mask_input: (B, 1) float, 1 or 0.

        Returns:
            (B, 4096, C), the no-mask embedding where `has_mask_input` is 0.
        """
        n = EMBEDDING_SIZE
        # y = 4 * row + 2 * a + c, x = 4 * column + 2 * b + d
        x = mask_input.reshape(-1, n, 2, 2, n, 2, 2).permute(0, 1, 4, 2, 5, 3, 6)
        x = self.lin1(x.reshape(-1, n * n, 4, 4))  # (B, 4096, a * b, C1)
        x = F.gelu(self.norm1(x))
        x = self.lin2(x.flatten(2))  # (B, 4096, C2)
        x = self.lin3(F.gelu(self.norm2(x)))
        has = has_mask_input.unsqueeze(2)
        return has * x + (1 - has) * self.no_mask
