"""The prompt encoder and mask decoder: embedding and prompts to mask logits.

Computes what `SamModel` computes from `image_embeddings` on, from the same weights (SAM, arXiv
2304.02643, appendix A), for B images with P prompts each, and with tokens that can be absent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamFeedForward, SamTwoWayAttentionBlock

from slimsam_build.graphs.channels_last import layer_norm, linear_to_patches
from slimsam_build.graphs.prompt_embedding import MaskEmbedding, PointEmbedding, absent_bias
from slimsam_build.graphs.request_values import nan_where, usable_inputs
from slimsam_build.graphs.two_way import (
    ImageToToken,
    TokenAttention,
    TokenToImage,
    TokenToSharedImage,
)
from slimsam_client.contract import EMBEDDING_SIZE, LOW_RES_SIZE, NUM_MASKS


class TwoWayBlock(nn.Module):
    """One layer: tokens to tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, source: SamTwoWayAttentionBlock, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attention = TokenAttention(source.self_attn)
        attention = TokenToSharedImage if first else TokenToImage
        self.token_to_image = attention(source.cross_attn_token_to_image)
        self.image_to_token = ImageToToken(source.cross_attn_image_to_token)
        self.lin1 = source.mlp.lin1
        self.lin2 = source.mlp.lin2
        self.norm1 = source.layer_norm1
        self.norm2 = source.layer_norm2
        self.norm3 = source.layer_norm3
        self.norm4 = source.layer_norm4

    def forward(
        self, tokens: Tensor, token_pe: Tensor, image: Tensor, image_pe: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens (G, T, C) and image tokens, (B, S, C) in the first layer, else (G, S, C).

        Args:
            tokens: (G, T, C).
            token_pe: (G, T, C), the tokens as they were before the first layer.
            image: image tokens.
            image_pe: (S, C), positions of the image tokens.
            bias: (G, T), MASKED for absent tokens, else 0.

        Returns:
            tokens (G, T, C) and image tokens (G, S, C).
        """
        if self.first:
            tokens = self.self_attention(tokens, tokens, bias)
        else:
            tokens = tokens + self.self_attention(tokens + token_pe, tokens, bias)
        tokens = self.norm1(tokens)
        placed = image + image_pe
        tokens = self.norm2(tokens + self.token_to_image(tokens + token_pe, placed, image))
        tokens = self.norm3(tokens + self.lin2(F.relu(self.lin1(tokens))))
        change = self.image_to_token(placed, tokens + token_pe, tokens, bias)
        groups, pixels, channels = change.shape
        images = image.shape[0]
        # (B, P, S, C) + (B, 1, S, C) in the first layer, a plain sum after it.
        image = change.reshape(images, groups // images, pixels, channels) + image.unsqueeze(1)
        return tokens, self.norm4(image.flatten(0, 1))


class FeedForward(nn.Module):
    """The small MLPs on output tokens: linear layers with ReLU between them."""

    def __init__(self, source: SamFeedForward) -> None:
        super().__init__()
        self.layers = nn.ModuleList([source.proj_in, *source.layers])
        self.last = source.proj_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (G, in) to (G, out)."""
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.last(x)


class MaskHead(nn.Module):
    """Image tokens and mask tokens to logits: two transposed convolutions and a dot product.

    Both convolutions are 2x2 with stride 2, so they are matrix products per token; the pixels are
    brought into order once, at the end, when only four channels are left.
    """

    hypernetworks: nn.Module

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        decoder = model.mask_decoder
        self.lin1 = linear_to_patches(decoder.upscale_conv1)
        self.norm = layer_norm(decoder.upscale_layer_norm)
        self.lin2 = linear_to_patches(decoder.upscale_conv2)
        self.channels1: int = decoder.upscale_conv1.out_channels
        self.channels2: int = decoder.upscale_conv2.out_channels
        self.hypernetworks = nn.ModuleList(
            FeedForward(mlp) for mlp in decoder.output_hypernetworks_mlps
        )

    def forward(self, image: Tensor, mask_tokens: Tensor, refused: Tensor) -> Tensor:
        """Make masks.

        Args:
            image: image tokens (G, S, C).
            mask_tokens: (G, 4, C).
            refused: (G, 1) bool, whose masks become NaN.

        Returns:
            (G, 4, 256, 256)
        """
        n = EMBEDDING_SIZE
        groups = image.shape[0]
        x = self.lin1(image).reshape(groups, n * n * 4, self.channels1)
        x = self.lin2(F.gelu(self.norm(x))).reshape(groups, n * n * 16, self.channels2)
        hyper = []
        for index, mlp in enumerate(self.hypernetworks.children()):
            hyper.append(mlp(mask_tokens[:, index]))
        # Here NaN costs nothing: the product carries a few numbers to all pixels.
        weights = nan_where(refused.unsqueeze(2), torch.stack(hyper, dim=1))
        masks = weights @ F.gelu(x).transpose(1, 2)  # (G, 4, S * 16)
        # y = 4 * row + 2 * a + c, x = 4 * column + 2 * b + d
        masks = masks.reshape(groups, NUM_MASKS, n, n, 2, 2, 2, 2)
        masks = masks.permute(0, 1, 2, 4, 6, 3, 5, 7)
        return masks.reshape(groups, NUM_MASKS, LOW_RES_SIZE, LOW_RES_SIZE)


class Decoder(nn.Module):
    """Embedding and prompts -> `low_res_masks`, `iou_predictions`, as the contract has them.

    Args:
        model: any checkpoint of SAM's geometry; it shares its weights with this graph.
    """

    output_tokens: Tensor
    image_pe: Tensor
    final_attention: nn.Module

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        decoder = model.mask_decoder
        transformer = decoder.transformer
        self.points = PointEmbedding(model)
        self.masks = MaskEmbedding(model)
        output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        self.register_buffer("output_tokens", output_tokens.detach().clone())
        self.register_buffer("image_pe", self.points.grid())
        self.blocks = nn.ModuleList(
            TwoWayBlock(layer, first=index == 0) for index, layer in enumerate(transformer.layers)
        )
        self.final_attention = TokenToImage(transformer.final_attn_token_to_image)
        self.final_norm = transformer.layer_norm_final_attn
        self.head = MaskHead(model)
        self.iou_head = FeedForward(decoder.iou_prediction_head)

    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        refused: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute (B, P, 4, 256, 256) logits and (B, P, 4) predictions in the graph's precision.

        They are NaN where `refused` (B, P), bool, is true.
        """
        if refused is None:
            refused = torch.zeros_like(point_labels[:, :, 0], dtype=torch.bool)
        batch, prompts, points = point_labels.shape
        groups = batch * prompts
        sparse = self.points(point_coords, point_labels).flatten(0, 1)  # (G, N, C)
        outputs = self.output_tokens.unsqueeze(0).expand(groups, -1, -1)
        token_pe = torch.cat([outputs, sparse], dim=1)  # (G, 1 + 4 + N, C)
        bias = absent_bias(point_labels, sparse.dtype).reshape(groups, points)
        bias = F.pad(bias, [1 + NUM_MASKS, 0])

        image = image_embeddings.flatten(2).transpose(1, 2)  # (B, S, C)
        image = image + self.masks(mask_input, has_mask_input)
        tokens = token_pe
        for block in self.blocks:
            tokens, image = block(tokens, token_pe, image, self.image_pe, bias)
        query = tokens + token_pe
        tokens = tokens + self.final_attention(query, image + self.image_pe, image)
        tokens = self.final_norm(tokens)

        groups_refused = refused.reshape(groups, 1)
        masks = self.head(image, tokens[:, 1 : 1 + NUM_MASKS], groups_refused)
        scores = nan_where(groups_refused, self.iou_head(tokens[:, 0]))
        return (
            masks.reshape(batch, prompts, NUM_MASKS, LOW_RES_SIZE, LOW_RES_SIZE),
            scores.reshape(batch, prompts, NUM_MASKS),
        )

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode prompts; those with values that the contract forbids get NaN (`request_values`).

        Args:
            image_embeddings: (B, 256, 64, 64) float16.
            point_coords: (B, P, N, 2) float32, (x, y) in the 1024 frame.
            point_labels: (B, P, N) int32, the contract's point labels.
            mask_input: (B, 1, 256, 256) float32 logits, used by all P prompts of an image.
            has_mask_input: (B, 1) float32, 1 or 0.

        Returns:
            low_res_masks (B, P, 4, 256, 256) float16 logits, iou_predictions (B, P, 4) float32.
        """
        dtype = self.output_tokens.dtype
        inputs, refused = usable_inputs(
            image_embeddings, point_coords, point_labels, mask_input, has_mask_input
        )
        masks, scores = self.decode(
            inputs.image_embeddings.to(dtype),
            inputs.point_coords,
            inputs.point_labels,
            self.masks.rounded(inputs.mask_input),
            inputs.has_mask_input.to(dtype),
            refused,
        )
        return masks.to(torch.float16), scores.to(torch.float32)
