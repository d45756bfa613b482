"""The mask decoder in the form that a GPU's compiler fuses best: `Decoder`'s values, other steps.

No reshape has a computed size in a place where TensorRT would have to prove that it is not 0, which
to ONNX means a size that is copied: -1 stands there. See `fused_two_way` for the attentions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamFeedForward

from slimsam_build.graphs.decoder import Decoder, MaskHead
from slimsam_build.graphs.fused_two_way import PIXELS, FusedTwoWayBlock, PlacedTokenToImage
from slimsam_build.graphs.prompt_embedding import absent_bias
from slimsam_build.graphs.request_values import nan_where
from slimsam_client.contract import EMBEDDING_CHANNELS, EMBEDDING_SIZE, LOW_RES_SIZE, NUM_MASKS


class StackedFeedForward(nn.Module):
    """Several `FeedForward`s of one shape, of which each layer is one product for all of them."""

    def __init__(self, mlps: Sequence[SamFeedForward]) -> None:
        super().__init__()
        layers = zip(*([mlp.proj_in, *mlp.layers, mlp.proj_out] for mlp in mlps), strict=True)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer in layers:
            # (mlps, in, out) and (mlps, 1, out)
            weight = torch.stack([linear.weight.detach().t() for linear in layer])
            bias = torch.stack([linear.bias.detach() for linear in layer]).unsqueeze(1)
            self.weights.append(nn.Parameter(weight, requires_grad=False))
            self.biases.append(nn.Parameter(bias, requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map (G, mlps, in) to (G, mlps, out), each token by its own MLP."""
        x = x.transpose(0, 1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            if index + 1 < len(self.weights):
                x = F.relu(x)
        return x.transpose(0, 1)


class FusedMaskHead(MaskHead):
    """`MaskHead` whose second GELU follows its product, with no reshape between."""

    def __init__(self, model: SamModel) -> None:
        super().__init__(model)
        mlps = model.mask_decoder.output_hypernetworks_mlps
        self.hypernetworks = StackedFeedForward(list(mlps))

    def forward(self, image: Tensor, mask_tokens: Tensor, refused: Tensor) -> Tensor:
        """Make masks; arguments and result are `MaskHead`'s."""
        n = EMBEDDING_SIZE
        x = self.lin1(image).reshape(-1, PIXELS * 4, self.channels1)
        x = F.gelu(self.lin2(F.gelu(self.norm(x)))).reshape(-1, PIXELS * 16, self.channels2)
        weights = nan_where(refused.unsqueeze(2), self.hypernetworks(mask_tokens))
        masks = weights @ x.transpose(1, 2)  # (G, 4, S * 16)
        # y = 4 * row + 2 * a + c, x = 4 * column + 2 * b + d
        masks = masks.reshape(-1, NUM_MASKS, n, n, 2, 2, 2, 2)
        masks = masks.permute(0, 1, 2, 4, 6, 3, 5, 7)
        return masks.reshape(-1, NUM_MASKS, LOW_RES_SIZE, LOW_RES_SIZE)


class FusedDecoder(Decoder):
    """`Decoder`, the same function, for compilers that fuse; see the module.

    Args:
        model: any checkpoint of SAM's geometry; it shares its weights with this graph.
    """

    def __init__(self, model: SamModel) -> None:
        super().__init__(model)
        transformer = model.mask_decoder.transformer
        self.blocks = nn.ModuleList(
            FusedTwoWayBlock(layer, index == 0, self.image_pe, shared=index == 0)
            for index, layer in enumerate(transformer.layers)
        )
        self.final_attention = PlacedTokenToImage(
            transformer.final_attn_token_to_image, self.image_pe
        )
        self.head = FusedMaskHead(model)

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

        They are NaN where `refused` (B, P), bool, is true. P is 1 or more.
        """
        if refused is None:
            refused = torch.zeros_like(point_labels[:, :, 0], dtype=torch.bool)
        batch, prompts, _ = point_labels.shape
        sparse = self.points(point_coords, point_labels).flatten(0, 1)  # (G, N, C)
        outputs = self.output_tokens.unsqueeze(0).expand(batch * prompts, -1, -1)
        token_pe = torch.cat([outputs, sparse], dim=1)  # (G, 1 + 4 + N, C)
        bias = absent_bias(point_labels, sparse.dtype).flatten(0, 1)
        bias = F.pad(bias, [1 + NUM_MASKS, 0])

        image = image_embeddings.reshape(-1, EMBEDDING_CHANNELS, PIXELS).transpose(1, 2)
        image = image + self.masks(mask_input, has_mask_input)  # (B, S, C)
        tokens = token_pe
        for block in self.blocks:
            tokens, image = block(tokens, token_pe, image, bias)
        tokens = tokens + self.final_attention(tokens + token_pe, image)
        tokens = self.final_norm(tokens)

        groups_refused = refused.reshape(-1, 1)
        masks = self.head(image, tokens[:, 1 : 1 + NUM_MASKS], groups_refused)
        scores = nan_where(groups_refused, self.iou_head(tokens[:, 0]))
        return (
            masks.reshape(batch, prompts, NUM_MASKS, LOW_RES_SIZE, LOW_RES_SIZE),
            scores.reshape(batch, prompts, NUM_MASKS),
        )
