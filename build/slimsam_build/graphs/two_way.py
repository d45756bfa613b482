"""Attention between a few prompt tokens and 4096 image tokens, with absorbed projections.

SAM's mask decoder (arXiv 2304.02643, appendix A) projects all image tokens to keys, values and
queries for every prompt. With few tokens it is cheaper to carry those projections over to the
tokens' side, which is exact:

    q . (W_k x + b_k)   =  (W_k' q) . x + const        the softmax over x drops the constant
    sum a (W_v x + b_v) =  W_v (sum a x) + b_v         the weights a sum to 1
    W_o concat(a_h v_h) =  sum a_h (W_o,h v_h)

The first layer's image tokens are still the same for all prompts of an image: `shared` attention
projects them once per image. Weights come from transformers' `SamAttention`.

Axes: B images, P prompts per image, G = B * P, T tokens per prompt, S = 4096 image tokens, C = 256.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamAttention

from slimsam_build.graphs.precision import softmax


class Projections(nn.Module):
    """The four projections of an attention, and its heads."""

    def __init__(self, source: SamAttention) -> None:
        super().__init__()
        self.heads: int = source.num_attention_heads
        self.head_dim: int = source.internal_dim // source.num_attention_heads
        self.scale: float = source.scaling
        self.q_proj = source.q_proj
        self.k_proj = source.k_proj
        self.v_proj = source.v_proj
        self.out_proj = source.out_proj

    def split(self, tokens: Tensor) -> Tensor:
        """Separate the heads: (G, T, heads * d) to (G, heads, T, d)."""
        shape = tokens.shape
        return tokens.reshape(shape[0], shape[1], self.heads, self.head_dim).transpose(1, 2)

    def join(self, attended: Tensor) -> Tensor:
        """Join the heads again: (G, heads, T, d) to (G, T, heads * d)."""
        return attended.transpose(1, 2).flatten(2)


class TokenAttention(Projections):
    """Self-attention of the prompt tokens; absent tokens are not attended to."""

    def forward(self, query: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Attend: `query` (also the key) and `value` are (G, T, C), `bias` is (G, T)."""
        q = self.split(self.q_proj(query)) * self.scale
        k = self.split(self.k_proj(query)).transpose(2, 3)
        v = self.split(self.v_proj(value))
        scores = q @ k + bias.unsqueeze(1).unsqueeze(2)
        attended = softmax(scores, dim=3) @ v  # (G, heads, T, d)
        return self.out_proj(self.join(attended))


class TokenToSharedImage(Projections):
    """Tokens attend to image tokens that all prompts of an image share."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend: `query` is (G, T, C), `key` and `value` are (B, S, C); returns (G, T, C)."""
        groups, count, _ = query.shape
        images = key.shape[0]
        prompts = groups // images
        q = (self.q_proj(query) * self.scale).reshape(
            images, prompts * count, self.heads, self.head_dim
        )
        k = self.split(self.k_proj(key)).transpose(2, 3)  # (B, heads, d, S)
        scores = q.transpose(1, 2) @ k  # (B, heads, P * T, S)
        attended = softmax(scores, dim=3) @ self.split(self.v_proj(value))
        attended = attended.transpose(1, 2).reshape(groups, count, self.heads * self.head_dim)
        return self.out_proj(attended)


class TokenToImage(Projections):
    """Tokens attend to their own prompt's image tokens."""

    key_weight: Tensor
    value_weight: Tensor

    def __init__(self, source: SamAttention) -> None:
        super().__init__(source)
        by_head = (self.heads, self.head_dim, source.hidden_size)
        # (heads, d, C): a head's query to the space of the image tokens.
        self.register_buffer("key_weight", source.k_proj.weight.detach().reshape(by_head).clone())
        # (heads, C, d): a head's mixture of image tokens to its value.
        value_weight = source.v_proj.weight.detach().reshape(by_head).transpose(1, 2)
        self.register_buffer("value_weight", value_weight.clone())

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend: `query` is (G, T, C), `key` and `value` are (G, S, C); returns (G, T, C)."""
        groups, count, channels = query.shape
        q = (self.split(self.q_proj(query)) * self.scale) @ self.key_weight  # (G, heads, T, C)
        scores = q.flatten(1, 2) @ key.transpose(1, 2)  # (G, heads * T, S)
        # Separate heads keep OpenVINO from fusing: its kernel takes longer than two products.
        scores = scores.reshape(groups, self.heads, count, key.shape[1])
        mixed = softmax(scores, dim=3).flatten(1, 2) @ value  # (G, heads * T, C)
        attended = mixed.reshape(groups, self.heads, count, channels) @ self.value_weight
        return self.out_proj(self.join(attended) + self.v_proj.bias)


class ImageToToken(Projections):
    """Image tokens, shared or a prompt's own, attend to the prompt's tokens."""

    query_weight: Tensor
    query_bias: Tensor
    out_weight: Tensor

    def __init__(self, source: SamAttention) -> None:
        super().__init__(source)
        by_head = (self.heads, self.head_dim, source.hidden_size)
        query = source.q_proj
        # (heads, d, C) and (heads, d, 1): a head's key to the space of the image tokens.
        query_weight = query.weight.detach().reshape(by_head) * self.scale
        query_bias = query.bias.detach().reshape(self.heads, self.head_dim, 1) * self.scale
        self.register_buffer("query_weight", query_weight)
        self.register_buffer("query_bias", query_bias)
        # (heads, d, C): a head's value to its share of the output.
        out_weight = source.out_proj.weight.detach().t().reshape(by_head)
        self.register_buffer("out_weight", out_weight.clone())

    def forward(self, image: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Attend.

        Args:
            image: (B, S, C) or (G, S, C), the queries.
            key: (G, T, C).
            value: (G, T, C).
            bias: (G, T), added to the scores.

        Returns:
            (G, S, C)
        """
        groups, count, channels = key.shape
        images, pixels, _ = image.shape
        k = self.split(self.k_proj(key))  # (G, heads, T, d)
        row_bias = k @ self.query_bias + bias.unsqueeze(1).unsqueeze(3)  # (G, heads, T, 1)
        rows = (groups // images) * self.heads * count
        k = (k @ self.query_weight).reshape(images, rows, channels)
        scores = (k @ image.transpose(1, 2)).reshape(groups, self.heads, count, pixels)
        weights = softmax(scores + row_bias, dim=2).flatten(1, 2)  # (G, heads * T, S)
        v = (self.split(self.v_proj(value)) @ self.out_weight).flatten(1, 2)  # (G, heads * T, C)
        return weights.transpose(1, 2) @ v + self.out_proj.bias
