"""The image encoder: uint8 image to embedding.

Computes what `SamImageProcessor`'s normalization and `SamModel.get_image_embeddings` compute, from
the same weights (SAM, arXiv 2304.02643, section 3; SlimSAM, arXiv 2312.05284).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamVisionLayer

from slimsam_build.graphs.channels_last import layer_norm, linear_of_patches
from slimsam_build.graphs.request_values import nan_where, usable_size
from slimsam_build.graphs.vision_attention import VisionAttention
from slimsam_client.contract import (
    EMBEDDING_CHANNELS,
    EMBEDDING_SIZE,
    IMAGE_SIZE,
    PATCH_SIZE,
    PIXEL_MEAN,
    PIXEL_STD,
)


class VisionBlock(nn.Module):
    """One transformer block: attention in windows or over the whole grid, then an MLP."""

    attention_class: ClassVar[type[VisionAttention]] = VisionAttention

    def __init__(self, source: SamVisionLayer) -> None:
        super().__init__()
        self.window: int = source.window_size or EMBEDDING_SIZE
        self.norm1 = source.layer_norm1
        self.attention = self.attention_class(source.attn, self.window)
        self.norm2 = source.layer_norm2
        self.lin1 = source.mlp.lin1
        self.lin2 = source.mlp.lin2

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, 64, 64, C) to (B, 64, 64, C)."""
        batch, side, _, channels = tokens.shape
        window = self.window
        across = (side + window - 1) // window
        pad = across * window - side
        x = self.norm1(tokens)
        # Padding comes after the norm, as in SAM: padded tokens are zeros that are attended to.
        x = F.pad(x, [0, 0, 0, pad, 0, pad])
        x = x.reshape(batch, across, window, across, window, channels).transpose(2, 3)
        x = self.attention(x.reshape(-1, window * window, channels))
        x = x.reshape(batch, across, across, window, window, channels).transpose(2, 3)
        x = x.reshape(batch, across * window, across * window, channels)
        # In half precision the tokens stay in float32: see `precision`.
        tokens = tokens + x[:, :side, :side].to(tokens.dtype)
        return tokens + self.lin2(F.gelu(self.lin1(self.norm2(tokens)))).to(tokens.dtype)


class Encoder(nn.Module):
    """`image`, `input_size` -> `image_embeddings`, as the contract has them.

    Args:
        model: any checkpoint of SAM's geometry; it shares its weights with this graph.
    """

    steps: Tensor
    mean: Tensor
    deviation: Tensor
    position: Tensor
    block_class: ClassVar[type[VisionBlock]] = VisionBlock

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        vision = model.vision_encoder
        patches = vision.patch_embed.projection
        self.patch_embed = linear_of_patches(patches)  # (16 * 16 * 3, C), pixels in HWC order
        position = vision.pos_embed
        if position is None:
            position = torch.zeros(1, EMBEDDING_SIZE, EMBEDDING_SIZE, patches.out_channels)
        self.register_buffer("position", position.detach().clone())
        # A buffer, so that tracing bakes no device.
        self.register_buffer("steps", torch.arange(IMAGE_SIZE, dtype=torch.int32))
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN))
        self.register_buffer("deviation", torch.tensor(PIXEL_STD))
        self.blocks = nn.ModuleList(self.block_class(layer) for layer in vision.layers)
        self.neck_conv1 = vision.neck.conv1
        self.neck_norm1 = layer_norm(vision.neck.layer_norm1)
        self.neck_conv2 = vision.neck.conv2
        self.neck_norm2 = layer_norm(vision.neck.layer_norm2)

    def normalize(self, image: Tensor, input_size: Tensor) -> Tensor:
        """Subtract SAM's mean, divide by its deviation, and zero what is not image.

        Args:
            image: (B, 1024, 1024, 3) uint8, RGB.
            input_size: (B, 2) int32, (height, width) of the valid top-left part.

        Returns:
            (B, 1024, 1024, 3) float32.
        """
        inside_h = self.steps < input_size[:, 0:1]  # (B, 1024)
        inside_w = self.steps < input_size[:, 1:2]
        inside = (inside_h.unsqueeze(2) & inside_w.unsqueeze(1)).unsqueeze(3)
        return (image.float() - self.mean) / self.deviation * inside.float()

    def embed(self, image: Tensor, input_size: Tensor) -> Tensor:
        """Compute the embedding in the graph's own precision, (B, 256, 64, 64)."""
        n = EMBEDDING_SIZE
        pixels = self.normalize(image, input_size).to(self.patch_embed.weight.dtype)
        patches = pixels.reshape(-1, n, PATCH_SIZE, n, PATCH_SIZE, 3).transpose(2, 3)
        x = self.patch_embed(patches.reshape(-1, n, n, PATCH_SIZE * PATCH_SIZE * 3))
        x = x.to(self.position.dtype) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.neck_conv1(x.permute(0, 3, 1, 2).to(self.patch_embed.weight.dtype))
        x = self.neck_norm1(x.permute(0, 2, 3, 1))
        x = self.neck_conv2(x.permute(0, 3, 1, 2))
        x = self.neck_norm2(x.permute(0, 2, 3, 1))
        return x.permute(0, 3, 1, 2)

    def forward(self, image: Tensor, input_size: Tensor) -> Tensor:
        """Embed images.

        Args:
            image: (B, 1024, 1024, 3) uint8, RGB.
            input_size: (B, 2) int32, (height, width) of the valid top-left part.

        Returns:
            image_embeddings, (B, 256, 64, 64) float16; NaN where a size is not within 1..1024.
        """
        size, refused = usable_size(input_size, IMAGE_SIZE)
        embeddings = self.embed(image, size)
        embeddings = nan_where(refused.unsqueeze(2).unsqueeze(3), embeddings).to(torch.float16)
        # Explicit: the OpenVINO backend wants every dim that the config fixes to be static.
        return embeddings.reshape(-1, EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE)
