"""Checkpoints of a published geometry with random weights of sane scale, for tests and benchmarks.

Transformers' own initialization will not do: `SamVisionConfig.initializer_range` is 1e-10, so its
weights are denormal numbers that compute ten times too slowly and test nothing.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamPositionalEmbedding, SamVisionAttention

GEOMETRIES: Final[dict[str, dict[str, Any]]] = {
    "slimsam-77": {"hidden_size": 168, "mlp_dim": 696},
    "slimsam-50": {"hidden_size": 384, "mlp_dim": 1536},
    "sam-vit-base": {"hidden_size": 768, "mlp_dim": 3072},
}
"""Vision settings of published checkpoints; 12 layers, 12 heads, window 14 in all of them."""


def random_checkpoint(geometry: str, seed: int = 0) -> SamModel:
    """Make a model whose activations keep the scale that trained SAM models have.

    Args:
        geometry: a key of `GEOMETRIES`.
        seed: equal seeds give equal weights.

    Returns:
        A float32 `SamModel` in evaluation mode, without gradients.
    """
    config = SamConfig(
        vision_config={
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "global_attn_indexes": [2, 5, 8, 11],
            "window_size": 14,
            **GEOMETRIES[geometry],
        }
    )
    model = SamModel(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)

    def fill(tensor: torch.Tensor, deviation: float, mean: float = 0.0) -> None:
        tensor.copy_(mean + deviation * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        fill(model.vision_encoder.pos_embed, 0.1)
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                fill(module.weight, module.weight[0].numel() ** -0.5)
                if module.bias is not None:
                    fill(module.bias, 0.1)
            elif isinstance(module, nn.LayerNorm):
                fill(module.weight, 0.1, mean=1.0)
                fill(module.bias, 0.1)
            elif isinstance(module, nn.Embedding):
                fill(module.weight, 0.3)
            elif isinstance(module, SamPositionalEmbedding):
                fill(module.positional_embedding, 1.0)
            if isinstance(module, SamVisionAttention):
                fill(module.rel_pos_h, 0.2)
                fill(module.rel_pos_w, 0.2)
    model.tie_weights()
    return model
