"""Attention between prompt tokens and image tokens, as a GPU's compiler fuses it.

`two_way` saves a CPU operations by absorbed projections, whose softmax no compiler fuses with its
products. Here each attention is projections and one softmax of products, and the image tokens'
positions cost nothing at run time: W (x + pe) + b = W x + (W pe + b), of which the bracket is a
constant.

Axes: those of `two_way`; C' is the width inside an attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamAttention, SamTwoWayAttentionBlock

from slimsam_build.graphs.attend import attend_in_steps
from slimsam_build.graphs.two_way import Projections, TokenAttention
from slimsam_client.contract import EMBEDDING_SIZE

PIXELS = EMBEDDING_SIZE * EMBEDDING_SIZE


class FusedTokenAttention(TokenAttention):
    """`TokenAttention`, as one softmax of products."""

    def forward(self, query: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Attend: `query` (also the key) and `value` are (G, T, C), `bias` is (G, T)."""
        q = self.split(self.q_proj(query) * self.scale)
        k = self.split(self.k_proj(query))
        v = self.split(self.v_proj(value))
        return self.out_proj(self.join(attend_in_steps(q, k, v, bias.unsqueeze(1).unsqueeze(2))))


class _PlacedProjections(Projections):
    """Projections of which one, `placed`, is that of image tokens with their positions.

    Args:
        source: the attention whose weights are taken.
        placed: its projection of image tokens with positions.
        image_pe: (S, C), the positions.
        scale: of the projection.
    """

    weight: Tensor
    positions: Tensor

    def __init__(
        self, source: SamAttention, placed: nn.Linear, image_pe: Tensor, scale: float
    ) -> None:
        super().__init__(source)
        with torch.no_grad():
            positions = F.linear(image_pe, placed.weight, placed.bias) * scale  # (S, C')
            self.register_buffer("weight", placed.weight * scale)
            self.register_buffer("positions", positions)

    def place(self, image: Tensor) -> Tensor:
        """Project (B or G, S, C) image tokens, as if their positions were added, by heads."""
        return self.split_image(F.linear(image, self.weight) + self.positions)

    def split_image(self, image: Tensor) -> Tensor:
        """Separate the heads of image tokens: (G, S, heads * d) to (G, heads, S, d)."""
        return image.reshape(-1, PIXELS, self.heads, self.head_dim).transpose(1, 2)


class PlacedTokenToImage(_PlacedProjections):
    """Tokens attend to their own prompt's image tokens."""

    def __init__(self, source: SamAttention, image_pe: Tensor) -> None:
        super().__init__(source, source.k_proj, image_pe, scale=1.0)

    def forward(self, query: Tensor, image: Tensor) -> Tensor:
        """Attend: `query` is (G, T, C), `image` (G, S, C); returns (G, T, C)."""
        q = self.split(self.q_proj(query) * self.scale)
        v = self.split_image(self.v_proj(image))
        return self.out_proj(self.join(attend_in_steps(q, self.place(image), v, None)))


class PlacedTokenToSharedImage(PlacedTokenToImage):
    """Tokens attend to image tokens that all prompts of an image share."""

    def forward(self, query: Tensor, image: Tensor) -> Tensor:
        """Attend: `query` is (G, T, C), `image` (B, S, C); returns (G, T, C)."""
        width = self.heads * self.head_dim
        q = self.q_proj(query) * self.scale
        q = q.reshape(image.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)
        v = self.split_image(self.v_proj(image))
        attended = attend_in_steps(q, self.place(image), v, None)  # (B, heads, P * T, d)
        return self.out_proj(attended.transpose(1, 2).reshape(-1, query.shape[1], width))


class PlacedImageToToken(_PlacedProjections):
    """A prompt's own image tokens attend to the prompt's tokens."""

    def __init__(self, source: SamAttention, image_pe: Tensor) -> None:
        super().__init__(source, source.q_proj, image_pe, scale=source.scaling)

    def forward(self, image: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Attend.

        Args:
            image: (G, S, C), the queries.
            key: (G, T, C).
            value: (G, T, C).
            bias: (G, T), added to the scores.

        Returns:
            (G, S, C)
        """
        return self._attend(self.place(image), key, value, bias)

    def _attend(self, q: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Attend with queries (G, heads, S, d)."""
        k = self.split(self.k_proj(key))
        v = self.split(self.v_proj(value))
        attended = attend_in_steps(q, k, v, bias.unsqueeze(1).unsqueeze(2)).transpose(1, 2)
        # The tokens' first size, in which TensorRT sees that there will be as many image tokens.
        # By -1, or by this tensor's own, it would fuse two of the next attentions less.
        size = (key.shape[0], PIXELS, self.heads * self.head_dim)
        return self.out_proj(attended.reshape(size))


class PlacedSharedImageToToken(PlacedImageToToken):
    """Image tokens that all prompts of an image share attend to each prompt's tokens."""

    def forward(self, image: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Attend: `image` is (B, S, C), the others are `PlacedImageToToken`'s."""
        prompts = key.shape[0] // image.shape[0]
        q = self.place(image).unsqueeze(1).expand(-1, prompts, -1, -1, -1)
        q = q.reshape(-1, self.heads, PIXELS, self.head_dim)
        return self._attend(q, key, value, bias)


class FusedTwoWayBlock(nn.Module):
    """One layer: tokens to tokens, tokens to image, MLP, image to tokens.

    Args:
        source: the layer whose weights are taken.
        first: whether it is the first.
        image_pe: (S, C), the positions of the image tokens.
        shared: whether the prompts of an image share its tokens before it, as (B, S, C).
    """

    def __init__(
        self, source: SamTwoWayAttentionBlock, first: bool, image_pe: Tensor, shared: bool
    ) -> None:
        super().__init__()
        self.first = first
        self.shared = shared
        self.self_attention = FusedTokenAttention(source.self_attn)
        to_image = PlacedTokenToSharedImage if shared else PlacedTokenToImage
        to_token = PlacedSharedImageToToken if shared else PlacedImageToToken
        self.token_to_image = to_image(source.cross_attn_token_to_image, image_pe)
        self.image_to_token = to_token(source.cross_attn_image_to_token, image_pe)
        self.lin1 = source.mlp.lin1
        self.lin2 = source.mlp.lin2
        self.norm1 = source.layer_norm1
        self.norm2 = source.layer_norm2
        self.norm3 = source.layer_norm3
        self.norm4 = source.layer_norm4

    def forward(
        self, tokens: Tensor, token_pe: Tensor, image: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens and image tokens; see `slimsam_build.graphs.decoder.TwoWayBlock`."""
        if self.first:
            tokens = self.self_attention(tokens, tokens, bias)
        else:
            tokens = tokens + self.self_attention(tokens + token_pe, tokens, bias)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.token_to_image(tokens + token_pe, image))
        tokens = self.norm3(tokens + self.lin2(F.relu(self.lin1(tokens))))
        change = self.image_to_token(image, tokens + token_pe, tokens, bias)
        if self.shared:
            # (B, P, S, C) + (B, 1, S, C)
            channels = change.shape[2]
            change = change.reshape(image.shape[0], -1, PIXELS, channels) + image.unsqueeze(1)
            return tokens, self.norm4(change.reshape(-1, PIXELS, channels))
        return tokens, self.norm4(change + image)
