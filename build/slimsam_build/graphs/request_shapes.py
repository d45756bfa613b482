"""Shapes of a request that the contract forbids, inside the decoder's graph.

P and N that differ between coordinates and labels, none at all, or more than the contract's limits:
Triton lets them all through. This decoder brings them to shapes that compute, so that no request
ends in an error from inside the graph, or costs more than the limits allow. TensorRT's form does
without: its profiles have the limits, and computed shapes cost it fusions.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamModel

from slimsam_build.graphs.decoder import Decoder
from slimsam_build.graphs.fused_decoder import FusedDecoder
from slimsam_client.contract import MAX_POINTS, MAX_PROMPTS

NO_LABEL: Final = -(2**30)
"""The label of a point to which the request gave none: its prompt gets NaN."""


class AnyShapeDecoder(nn.Module):
    """`Decoder` for every P and N.

    - P = 0 is answered with empty tensors.
    - P or N above the limits: the answer has MAX_PROMPTS prompts at most, all NaN.
    - N = 0, and P or N that differ between coordinates and labels: NaN for every prompt of the
      coordinates.

    Args:
        model: any checkpoint of SAM's geometry; it shares its weights with this graph.
    """

    decoder_class: type[Decoder] = Decoder

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.decoder = self.decoder_class(model)

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode prompts; inputs and outputs are `Decoder`'s."""
        shape = torch._shape_as_tensor(point_coords)[:3]
        prompts, points = shape[1], shape[2]
        fits = (shape == torch._shape_as_tensor(point_labels)).to(torch.int32).sum() == 3
        fits = fits & (prompts <= MAX_PROMPTS) & (points <= MAX_POINTS) & (points > 0)
        count, length = _within(prompts, 1, MAX_PROMPTS), _within(points, 1, MAX_POINTS)
        length = 1 + (length - 1) * fits.to(length.dtype)  # what gets NaN is computed by one point

        # They are cut before they are padded: no prompts of very many points are no bytes, and one
        # padded prompt of them is more than there is memory for.
        coords, labels = (given[:, :count, :length] for given in (point_coords, point_labels))
        coords = F.pad(coords, [0, 0, 0, 1, 0, 1])[:, :count, :length]
        labels = F.pad(labels, [0, MAX_POINTS, 0, MAX_PROMPTS], value=NO_LABEL)
        labels = labels[:, :count, :length]
        # By arithmetic: sizes live on the CPU, and so does `fits`, wherever the labels are.
        keep = fits.to(labels.dtype)
        labels = labels * keep + (1 - keep) * NO_LABEL

        masks, scores = self.decoder(image_embeddings, coords, labels, mask_input, has_mask_input)
        answered = _within(prompts, 0, MAX_PROMPTS)
        return masks[:, :answered], scores[:, :answered]


class AnyShapeFusedDecoder(AnyShapeDecoder):
    """`FusedDecoder` for every P and N."""

    decoder_class = FusedDecoder


def _within(size: Tensor, low: int, high: int) -> Tensor:
    """Clamp a size.

    By counting, for Triton's OpenVINO backend takes no output whose dim has a bound, and OpenVINO
    carries the bounds of a clamp from shape to shape.
    """
    steps = torch.arange(low, high, dtype=size.dtype)
    return low + (steps < size).to(size.dtype).sum()
