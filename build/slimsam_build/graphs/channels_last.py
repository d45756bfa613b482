"""Layers of `SamModel` for tensors whose channels come last: products instead of convolutions.

SAM's convolutions outside the neck have kernels as large as their strides, so each is one matrix
product per patch. They share no weights with their source.
"""

from __future__ import annotations

import torch
from torch import nn


def linear_of_patches(conv: nn.Conv2d) -> nn.Linear:
    """Turn a convolution whose stride is its kernel into a product over (pixel, channel)."""
    linear = nn.Linear(conv.weight[0].numel(), conv.out_channels)
    with torch.no_grad():
        linear.weight.copy_(conv.weight.permute(0, 2, 3, 1).flatten(1))
        if conv.bias is not None:
            linear.bias.copy_(conv.bias)
    return linear


def linear_to_patches(conv: nn.ConvTranspose2d) -> nn.Linear:
    """Turn a 2x2 transposed convolution of stride 2 into a product to (a, b, channel)."""
    linear = nn.Linear(conv.in_channels, 4 * conv.out_channels)
    with torch.no_grad():
        linear.weight.copy_(conv.weight.permute(2, 3, 1, 0).flatten(0, 2))
        if conv.bias is not None:
            linear.bias.copy_(conv.bias.repeat(4))
    return linear


def layer_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """Turn a `SamLayerNorm`, which brings channels last and back again, into a plain LayerNorm."""
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    plain.load_state_dict(norm.state_dict())
    return plain
