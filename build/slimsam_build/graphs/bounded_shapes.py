"""Every shape of a request, for an exporter that has sizes as symbols (`torch.export`).

What `request_shapes` does for graphs that are traced: shapes that Triton lets through and the
contract forbids are brought to shapes that compute, so that no request costs more than the limits
allow. There sizes are tensors, here they are integers or `torch.SymInt`, and everything is said by
arithmetic: a branch or a comparison would let the exporter keep one of its sides alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamFeedForward

from slimsam_build.graphs.decoder import FeedForward
from slimsam_build.graphs.fused_decoder import FusedDecoder
from slimsam_build.graphs.fused_two_way import FusedTwoWayBlock
from slimsam_build.graphs.masks import Masks, within_limits
from slimsam_build.graphs.request_shapes import NO_LABEL
from slimsam_client.contract import (
    MASK_MULTIPLE,
    MAX_MASK_PIXELS,
    MAX_MASK_SIDE,
    MAX_POINTS,
    MAX_PROMPTS,
    NUM_MASKS,
)

OUTPUTS: Final = 1 + NUM_MASKS
"""Tokens of a prompt that are no points: those of the predictions and of the masks."""
ANY: Final = 2**62
MOST_MULTIPLES: Final = MAX_MASK_SIDE // MASK_MULTIPLE
LEAST: Final = 2
"""Sizes that are padded have this at least: for 1 the compiler would broadcast."""


class SeparateFeedForward(nn.Module):
    """The MLPs of a decoder's masks, one after the other.

    The compiler takes no batched product of a number of rows that it does not know.
    """

    def __init__(self, mlps: Iterable[SamFeedForward]) -> None:
        super().__init__()
        self.mlps = nn.ModuleList(FeedForward(mlp) for mlp in mlps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (G, mlps, in) to (G, mlps, out), each token by its own MLP."""
        return torch.stack([mlp(x[:, index]) for index, mlp in enumerate(self.mlps)], dim=1)


class BoundedDecoder(nn.Module):
    """`FusedDecoder` for every P and N, answered as `AnyShapeFusedDecoder` answers them.

    Args:
        model: any checkpoint of SAM's geometry; it shares its weights with this graph.
    """

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.decoder = FusedDecoder(model)
        layer = model.mask_decoder.transformer.layers[0]
        self.decoder.blocks[0] = FusedTwoWayBlock(layer, True, self.decoder.image_pe, shared=False)
        mlps = model.mask_decoder.output_hypernetworks_mlps
        self.decoder.head.hypernetworks = SeparateFeedForward(mlps)

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode prompts; inputs and outputs are `Decoder`'s."""
        rows = image_embeddings.shape[0]
        for each in (point_coords, point_labels, mask_input, has_mask_input):
            torch._check(each.shape[0] == rows)
        prompts, points = _size(point_coords, 1), _size(point_coords, 2)
        fits = (prompts == _size(point_labels, 1)) & (points == _size(point_labels, 2))
        fits = fits & (prompts <= MAX_PROMPTS) & (points <= MAX_POINTS) & (points > 0)
        count = _number(prompts.clamp(1, MAX_PROMPTS), 1, MAX_PROMPTS)
        # All tokens of a prompt are the number that the compiler gets, because it proves what it
        # needs of products of numbers, and not of products of sums.
        tokens = _number(points.clamp(1, MAX_POINTS) + OUTPUTS, 1 + OUTPUTS, MAX_POINTS + OUTPUTS)
        length = tokens - OUTPUTS
        answered = _number(prompts.clamp(max=MAX_PROMPTS), 0, MAX_PROMPTS)
        keep = _number(fits.to(torch.int64), 0, 1)

        # They are cut before they are padded: no prompts of very many points are no bytes, and one
        # padded prompt of them is more than there is memory for.
        coords, labels = (given[:, 0:count, 0:length] for given in (point_coords, point_labels))
        coords = F.pad(coords, [0, 0, 0, 1, 0, 1])
        labels = F.pad(labels, [0, MAX_POINTS, 0, MAX_PROMPTS], value=NO_LABEL)
        coords = coords.narrow(1, 0, count).narrow(2, 0, length)
        labels = labels.narrow(1, 0, count).narrow(2, 0, length)
        labels = labels * keep + (1 - keep) * NO_LABEL

        # Every prompt is a row of its own, with a copy of its image: the compiler splits no axis
        # into two numbers that it does not know.
        batch = (image_embeddings, mask_input, has_mask_input)
        image, mask, has_mask = (
            given.unsqueeze(1).expand(rows, count, *given.shape[1:]).flatten(0, 1)
            for given in batch
        )
        coords, labels = (given.flatten(0, 1).unsqueeze(1) for given in (coords, labels))
        masks, scores = self.decoder(image, coords, labels, mask, has_mask)
        masks = masks.reshape(rows, count, *masks.shape[2:])
        scores = scores.reshape(rows, count, NUM_MASKS)
        torch._check(answered <= count)
        return masks.narrow(1, 0, answered), scores.narrow(1, 0, answered)


class BoundedMasks(nn.Module):
    """`Masks` for every P, H, W and K, answered as `AnyShapeMasks` answers them."""

    def __init__(self) -> None:
        super().__init__()
        self.masks = Masks()

    def forward(
        self,
        low_res_masks: Tensor,
        row_weights: Tensor,
        column_weights: Tensor,
        stability_offset: Tensor,
        chosen: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Measure masks; inputs and outputs are those of `Masks`."""
        prompts, count = _size(low_res_masks, 1), _size(chosen, 1)
        height, width = _size(row_weights, 1), _size(column_weights, 1)
        fits = within_limits(prompts, count, height, width)
        keep = fits.to(torch.int64)

        # What does not fit is computed for 8 x 8 pixels of one prompt.
        prompts, count = prompts * keep, count * keep
        height, width = (side * keep // MASK_MULTIPLE + 1 - keep for side in (height, width))
        answered = _number(prompts, 0, MAX_PROMPTS)
        picked = _number(count, 0, MAX_MASK_PIXELS)
        high, wide = (_number(side, 1, MOST_MULTIPLES) for side in (height, width))
        asked = _number(prompts.clamp(min=LEAST), LEAST, MAX_PROMPTS)
        named = _number(count.clamp(min=LEAST), LEAST, MAX_MASK_PIXELS)
        rows, columns = (
            MASK_MULTIPLE * _number(side.clamp(min=LEAST), LEAST, MOST_MULTIPLES)
            for side in (height, width)
        )
        logits = F.pad(low_res_masks[:, :asked], [0, 0, 0, 0, 0, 0, 0, LEAST]).narrow(1, 0, asked)
        weights = [
            F.pad(given[:, :size], [0, 0, 0, LEAST * MASK_MULTIPLE]).narrow(1, 0, size)
            for given, size in ((row_weights, rows), (column_weights, columns))
        ]
        chosen = F.pad(chosen[:, :named], [0, LEAST]).narrow(1, 0, named)
        stability, boxes, areas, bits = self.masks(logits, *weights, stability_offset, chosen)
        bits = bits.narrow(1, 0, picked).narrow(2, 0, MASK_MULTIPLE * high).narrow(3, 0, wide)
        return (
            stability.narrow(1, 0, answered),
            boxes.narrow(1, 0, answered),
            areas.narrow(1, 0, answered),
            bits,
        )


def _size(tensor: Tensor, axis: int) -> Tensor:
    """A size as a tensor, which is on the CPU wherever the graph is.

    The compiler takes the sizes of an input for 1 at least, and leaves out what is said of 0. Of a
    number that has been read from a tensor it knows what it is told.
    """
    size = torch.full((), tensor.shape[axis], dtype=torch.int64, device="cpu")
    return torch.full((), _number(size, 0, ANY), dtype=torch.int64, device="cpu")


def _number(size: Tensor, low: int, high: int) -> int:
    """Read a size that is known to be within bounds, for the exporter to know them, too."""
    number: int = size.item()  # type: ignore[assignment]
    torch._check(number >= low)
    torch._check(number <= high)
    return number
