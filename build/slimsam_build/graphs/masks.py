"""Everything mode's second half: mask logits to measures and bits at the picture's size.

What `slimsam_client.everything.candidates` computes of a mask in NumPy, for all masks of a request
at once (SAM's `Sam.postprocess_masks`, `calculate_stability_score` and `batched_mask_to_box`).

Which masks are wanted is known when all of a picture have been measured and suppressed. So a
request names the masks that it wants as bits, and the first request for a batch of prompts names
one for form's sake. The alternative, to bring out whatever passes the thresholds, needs either an
output whose size depends on values (NonZero), across which TensorRT does not fuse, or the k best in
a tensor of fixed size, which crosses the bus mostly empty, or full of masks that suppression drops.
Asking again costs a decoding of those prompts whose masks are kept, a few in a hundred.

The predicted IoU does not pass through: nothing here is computed from it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimsam_client.contract import (
    LOW_RES_SIZE,
    MASK_MULTIPLE,
    MASK_THRESHOLD,
    MAX_MASK_PIXELS,
    MAX_MASK_SIDE,
    MAX_PROMPTS,
    NUM_MASKS,
)

STRIPS: Final = MASK_MULTIPLE
"""A picture's rows are measured in so many parts, one after the other, whose logits are in memory
one at a time."""
EACH: Final = NUM_MASKS - 1


class Masks(nn.Module):
    """Scale masks to the picture, measure all, and pack the chosen ones into bits.

    Always in float32: a threshold between two logits needs more than half precision has.
    """

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positions", torch.arange(MAX_MASK_SIDE, dtype=torch.float32))

    def forward(
        self,
        low_res_masks: Tensor,
        row_weights: Tensor,
        column_weights: Tensor,
        stability_offset: Tensor,
        chosen: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Measure masks.

        Args:
            low_res_masks: (1, P, 4, 256, 256) float16, the decoder's.
            row_weights: (1, H, 256) float32; H a multiple of 8, rows beyond the picture are 0.
            column_weights: (1, W, 256) float32; the same for W.
            stability_offset: (1, 1) float32, by which the threshold moves, in logits; 0 or more.
            chosen: (1, K) int32, 3 * prompt + mask of those that are wanted as bits.

        Returns:
            stability_score (1, P, 3) float32, NaN where no pixel reaches the lower threshold;
            boxes (1, P, 3, 4) int32: x0, y0, x1, y1, first and last pixels, 0 without a pixel;
            areas (1, P, 3) int32; and bits (1, K, H, W / 8) uint8.
        """
        # One row is all that comes, and the first is what counts; but Triton wants a batch axis
        # that could have more, of every input and output of a TensorRT engine. The builder takes an
        # expanded axis of 1 for a constant, and this sum with zeros not.
        rows_of_batch = (stability_offset.abs() < 0).float().unsqueeze(2)  # (1, 1, 1), 0
        low_res_masks, chosen = low_res_masks[:1], chosen[:1]
        row_weights, column_weights = row_weights[:1], column_weights[:1]
        stability_offset = stability_offset[:1]
        logits = low_res_masks[:, :, 1:].reshape(-1, LOW_RES_SIZE, LOW_RES_SIZE).float()
        offset = stability_offset.reshape(1, 1, 1)
        columns = column_weights.reshape(-1, LOW_RES_SIZE).t()
        wide = logits @ columns  # (M, 256, W)
        in_rows, lower, upper = [], [], []
        in_columns = torch.zeros_like(wide[:, 0])
        strips = row_weights.reshape(STRIPS, -1, LOW_RES_SIZE)
        for index in range(STRIPS):
            # Counts are not negative, so this adds 0; but a compiler does not know, and would
            # otherwise compute all strips before it counts in any.
            after = in_columns.amin().clamp(max=0.0)
            values = (strips[index] + after) @ wide  # (M, H / STRIPS, W)
            inside = (values > MASK_THRESHOLD).float()
            # A row's count is exact in float32, a picture's may not be.
            in_rows.append(inside.sum(2))
            in_columns = in_columns + inside.sum(1)
            lower.append((values > MASK_THRESHOLD - offset).float().sum(2))
            upper.append((values > MASK_THRESHOLD + offset).float().sum(2))
        rows = torch.cat(in_rows, 1)  # (M, H)
        areas = _total(rows)
        beyond = _beyond(row_weights, column_weights) * (stability_offset > 0).to(torch.int32)
        union = _total(torch.cat(lower, 1)) - beyond.reshape(1)
        stability = _total(torch.cat(upper, 1)).float() / union.float()
        found = areas > 0
        sides = [*self._span(in_columns, found), *self._span(rows, found)]
        boxes = torch.stack([sides[0], sides[2], sides[1], sides[3]], 1)
        bits = _packed(row_weights[0] @ (_picked(logits, chosen) @ columns))
        return (
            stability.reshape(1, -1, EACH) + rows_of_batch,
            boxes.reshape(1, -1, EACH, 4) + rows_of_batch.unsqueeze(3).to(torch.int32),
            areas.reshape(1, -1, EACH) + rows_of_batch.to(torch.int32),
            # At the end: TensorRT has bytes as outputs alone.
            (bits.unsqueeze(0) + rows_of_batch.unsqueeze(3)).to(torch.uint8),
        )

    def _span(self, counts: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """First and last position, (M,) int32 each, of those that have a count, (M, S)."""
        positions = self.positions[: counts.shape[1]].unsqueeze(0)
        there = counts > 0
        first = torch.where(there, positions, torch.full_like(positions, MAX_MASK_SIDE)).amin(1)
        last = torch.where(there, positions, torch.zeros_like(positions)).amax(1)
        first = torch.where(found, first, torch.zeros_like(first))
        return first.to(torch.int32), last.to(torch.int32)


def _total(counts: Tensor) -> Tensor:
    """Sum counts (M, H), as int32."""
    return counts.to(torch.int32).sum(1, dtype=torch.int32)


def _beyond(row_weights: Tensor, column_weights: Tensor) -> Tensor:
    """Pixels of H x W beyond the picture, whose logit is 0: int32, one number.

    A pixel's weights add up to 1, and those of a row beyond the picture to 0.
    """
    rows, columns = row_weights.sum(2), column_weights.sum(2)
    inside = [_total((weights > 0.5).float()) for weights in (rows, columns)]
    both = [_total(torch.ones_like(weights)) for weights in (rows, columns)]
    return both[0] * both[1] - inside[0] * inside[1]


def _picked(logits: Tensor, chosen: Tensor) -> Tensor:
    """Logits (K, 256, 256) of the chosen ones; of what is none of them, the first."""
    index = chosen.reshape(-1).to(torch.int64)
    # By arithmetic: the size lives on the CPU, wherever the index is.
    exporting = torch.compiler.is_exporting()  # where a size is a symbol
    count = logits.shape[0] if exporting else torch._shape_as_tensor(logits)[0]
    known = (index >= 0) & (index < count)
    return logits.index_select(0, index * known.to(torch.int64))


def _packed(values: Tensor) -> Tensor:
    """Pack which logits (K, H, W) are above the threshold: (K, H, W / 8), 0 to 255."""
    inside = (values > MASK_THRESHOLD).float()
    # Slices, not a reshape, whose sizes would have to be computed.
    total = inside[:, :, 0::8] * 128.0
    for bit in range(1, 8):
        total = total + inside[:, :, bit::8] * float(2 ** (7 - bit))
    return total


def within_limits(prompts: Tensor, count: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Say whether P, K, H and W, tensors of one integer, are what `Masks` may compute; a bool."""
    fits = (prompts <= MAX_PROMPTS) & (height <= MAX_MASK_SIDE) & (width <= MAX_MASK_SIDE)
    fits = fits & (prompts * height * width <= MAX_MASK_PIXELS)
    fits = fits & (count * height * width <= MAX_MASK_PIXELS)
    fits = fits & (height * width > 0)
    return fits & (height % MASK_MULTIPLE + width % MASK_MULTIPLE == 0)


class AnyShapeMasks(nn.Module):
    """`Masks` for every P, H, W and K, so that no request ends in an error or costs too much.

    - P = 0 and K = 0 are answered with empty tensors.
    - So are P x H x W or K x H x W above MAX_MASK_PIXELS, P above MAX_PROMPTS, and H or W that is
      0, above MAX_MASK_SIDE, or no multiple of MASK_MULTIPLE.

    See `slimsam_build.graphs.request_shapes`.
    """

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
        prompts, count = _size(low_res_masks), _size(chosen)
        height, width = _size(row_weights), _size(column_weights)
        fits = within_limits(prompts, count, height, width)
        keep = fits.to(prompts.dtype)

        # What does not fit is computed for 8 x 8 pixels of one prompt.
        prompts, count = prompts * keep, count * keep
        spare = MASK_MULTIPLE * (1 - keep)
        height, width = height * keep + spare, width * keep + spare
        asked, named = (size + (size == 0).to(size.dtype) for size in (prompts, count))
        logits = F.pad(low_res_masks[:, :asked], [0, 0, 0, 0, 0, 0, 0, 1])[:, :asked]
        weights = [
            F.pad(given[:, :size], [0, 0, 0, MASK_MULTIPLE])[:, :size]
            for given, size in ((row_weights, height), (column_weights, width))
        ]
        chosen = F.pad(chosen[:, :named], [0, 1])[:, :named]
        stability, boxes, areas, bits = self.masks(logits, *weights, stability_offset, chosen)
        return stability[:, :prompts], boxes[:, :prompts], areas[:, :prompts], bits[:, :count]


def _size(tensor: Tensor) -> Tensor:
    """The size of a tensor's second axis, as a tensor."""
    return torch._shape_as_tensor(tensor)[1]
