"""The demo model: a small `SamModel`, its first weights, and a forward pass over crops.

A 256- or 512-pixel training image is an exact crop of the 1024 frame: the same positions, the same
relative distances, fewer tokens. So what a crop teaches holds for the whole frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import (
    SamMaskDecoder,
    SamVisionAttention,
    SamVisionLayer,
)

from slimsam_client.contract import IMAGE_SIZE, PATCH_SIZE


def demo_config() -> SamConfig:
    """The configuration: SAM's geometry, everything else small."""
    return SamConfig(
        vision_config={
            "hidden_size": 96,
            "num_hidden_layers": 6,
            "num_attention_heads": 3,
            "mlp_dim": 256,
            "global_attn_indexes": [2, 5],
            "window_size": 8,
            "use_abs_pos": False,
        },
        mask_decoder_config={"mlp_dim": 256, "iou_head_hidden_dim": 128},
    )


def new_model(seed: int = 0) -> SamModel:
    """A model ready for training: transformers leaves the vision weights at 1e-10."""
    torch.manual_seed(seed)
    # Plain attention: with a handful of tokens its backward pass is four times as fast.
    model = SamModel._from_config(demo_config(), attn_implementation="eager")
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
    for layer in model.vision_encoder.layers:
        # Residual branches start small, so that the depth costs nothing at first.
        layer.attn.proj.weight.data.mul_(0.3)
        layer.mlp.lin2.weight.data.mul_(0.3)
    # SAM's own scale of the random Fourier features; transformers' default is hidden_size / 2.
    frequencies = torch.randn(model.shared_image_embedding.positional_embedding.shape)
    model.shared_image_embedding.positional_embedding.data.copy_(frequencies)
    model.tie_weights()
    return model


def encode(model: SamModel, pixels: Tensor) -> Tensor:
    """Embed crops: normalized pixels (B, 3, S, S), S a multiple of 128, to (B, 256, S/16, S/16)."""
    vision = model.vision_encoder
    tokens = vision.patch_embed.projection(pixels).permute(0, 2, 3, 1)
    for layer in vision.layers:
        tokens = tokens + _attention(layer, layer.layer_norm1(tokens))
        tokens = tokens + layer.mlp(layer.layer_norm2(tokens))
    return vision.neck(tokens)


def _attention(layer: SamVisionLayer, tokens: Tensor) -> Tensor:
    attention: SamVisionAttention = layer.attn
    batch, side, _, channels = tokens.shape
    window = layer.window_size or side
    across = side // window
    heads = attention.num_attention_heads
    x = tokens.reshape(batch, across, window, across, window, channels).transpose(2, 3)
    x = x.reshape(-1, window * window, channels)
    qkv = attention.qkv(x).reshape(len(x), window * window, 3, heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)  # (G, heads, window * window, d)
    # The middle of the table: the distances that occur within `window` tokens.
    distance = torch.arange(window)
    middle = attention.rel_pos_h.shape[0] // 2
    index = distance[:, None] - distance[None, :] + middle
    grid = q.reshape(len(x), heads, window, window, -1)
    rel_h = torch.einsum("gnhwc,hkc->gnhwk", grid, attention.rel_pos_h[index].to(q.dtype))
    rel_w = torch.einsum("gnhwc,wkc->gnhwk", grid, attention.rel_pos_w[index].to(q.dtype))
    bias = (rel_h[..., :, None] + rel_w[..., None, :]).flatten(4).flatten(2, 3)
    x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    x = x.transpose(1, 2).reshape(batch, across, across, window, window, channels)
    return attention.proj(x.transpose(2, 3).reshape(batch, side, side, channels))


def decode(
    model: SamModel,
    embeddings: Tensor,
    coords: Tensor,
    labels: Tensor,
    logits: Tensor | None,
    offset: tuple[int, int] = (0, 0),
) -> tuple[Tensor, Tensor]:
    """Decode one prompt per row.

    Args:
        model: the model.
        embeddings: (G, 256, n, n).
        coords: (G, N, 2), (x, y) in pixels of the crop.
        labels: (G, N), 1 foreground, 0 background, 2 and 3 box corners, -1 not a point.
        logits: (G, 1, 4n, 4n) of an earlier answer, or None.
        offset: (row, column) of the crop's first token in the 64 x 64 frame.

    Returns:
        logits (G, 4, 4n, 4n) and predicted IoU (G, 4).
    """
    prompts = model.prompt_encoder
    side = embeddings.shape[-1]
    top, left = offset
    shift = torch.tensor([left, top]) * PATCH_SIZE
    positions = model.shared_image_embedding((coords + shift + 0.5)[:, None] / IMAGE_SIZE)[:, 0]
    embeddings_of_labels = [prompts.not_a_point_embed, *prompts.point_embed]  # labels -1 .. 3
    table = torch.cat([embedding.weight for embedding in embeddings_of_labels])
    sparse = torch.where(labels[..., None] >= 0, positions, 0.0) + table[labels + 1]
    if logits is None:
        dense = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(embeddings)
    else:
        dense = prompts.mask_embed(logits)
    wide = model.get_image_wide_positional_embeddings()
    wide = wide[:, :, top : top + side, left : left + side].expand(len(embeddings), -1, -1, -1)
    # `multimask_output` only slices, so both kinds of answer come from one pass.
    masks, scores = _all_outputs(model.mask_decoder, embeddings, wide, sparse[:, None], dense)
    return masks[:, 0], scores[:, 0]


def _all_outputs(
    decoder: SamMaskDecoder, embeddings: Tensor, wide: Tensor, sparse: Tensor, dense: Tensor
) -> tuple[Tensor, Tensor]:
    """Run `SamMaskDecoder` without its final slice: all four masks."""
    groups = len(sparse)
    outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([outputs.expand(groups, 1, -1, -1), sparse], dim=2)
    hidden, image = decoder.transformer(
        point_embeddings=tokens,
        image_embeddings=embeddings + dense,
        image_positional_embeddings=wide,
        attention_similarity=None,
    )
    image = image.transpose(2, 3).reshape(embeddings.shape)
    image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image)))
    image = decoder.activation(decoder.upscale_conv2(image))
    hyper = torch.stack(
        [mlp(hidden[:, :, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=2
    )
    masks = (hyper @ image.flatten(2).unsqueeze(1)).unflatten(3, image.shape[2:])
    return masks, decoder.iou_prediction_head(hidden[:, :, 0])
