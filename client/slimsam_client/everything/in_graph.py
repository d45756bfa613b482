"""The filters where the server's slimsam_masks measures the masks.

First every batch of a crop's points is decoded and measured, which brings home a few numbers for
each mask. When the filters and the suppression have chosen among them, those points whose masks
stay are decoded again, and their masks come as bits: a few in a hundred, and no logits at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.calls import Call, Check
from slimsam_client.contract import (
    DECODED_MASKS,
    MASK_MULTIPLE,
    MAX_MASK_PIXELS,
    MAX_MASK_SIDE,
    NUM_MASKS,
    Arrays,
)
from slimsam_client.encodings import to_box, to_rle
from slimsam_client.everything.candidates import (
    Candidate,
    cut_off,
    in_image,
    passing,
    stable,
)
from slimsam_client.everything.crops import CropBox
from slimsam_client.everything.settings import GenerateSettings
from slimsam_client.masks.axis import axes, dense_weights
from slimsam_client.prompts.encode import encode_prompts, prompt_arrays

Ask = Callable[[Iterable[Call]], Iterable[Arrays]]
"""Such a function answers calls in their order, while later ones are under way already."""

SMALLEST_SIDE: Final = 2**11
"""Sides up to this are one profile of TensorRT's; above it, each has the double of the last."""


def prompts_at_once(crop_size: tuple[int, int], most: int) -> int:
    """Give how many prompts slimsam_masks takes at once of a crop; 0: it is too large for it.

    Args:
        crop_size: (height, width).
        most: what else bounds them.
    """
    side = SMALLEST_SIDE
    while side < max(crop_size):
        side *= 2
    return 0 if side > MAX_MASK_SIDE else min(most, MAX_MASK_PIXELS // side**2)


@dataclass(frozen=True)
class Measured:
    """A mask that passed the filters, and whose pixels are not here.

    Attributes:
        prompt: which of the crop's points it comes from.
        mask: which of that point's three.
        box: x0, y0, x1, y1 in the image, last pixels' indices.
        predicted_iou: the model's estimate.
        stability_score: the mask's stability score.
    """

    prompt: int
    mask: int
    box: tuple[float, float, float, float]
    predicted_iou: float
    stability_score: float


@dataclass(frozen=True, eq=False)
class CropInGraph:
    """A crop whose masks the server's graph makes.

    Attributes:
        ask: answers calls.
        embeddings: the crop's.
        points: (P, 2), (x, y) in pixels of the crop.
        crop_box: where it lies in the image.
        input_size: (height, width) of the crop in the 1024 frame.
        image_size: (height, width) of the image.
        settings: thresholds.
        prompts: points of one call.
        check: called before each mask.
    """

    ask: Ask
    embeddings: NDArray[np.float16]
    points: NDArray[np.float64]
    crop_box: CropBox
    input_size: tuple[int, int]
    image_size: tuple[int, int]
    settings: GenerateSettings
    prompts: int
    check: Check

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the crop."""
        left, top, right, bottom = self.crop_box
        return bottom - top, right - left

    @cached_property
    def weights(self) -> list[NDArray[np.float32]]:
        """The matrices of both resizes, of rows and of columns."""
        return [
            dense_weights(axes.get(valid, pixels), MASK_MULTIPLE)
            for valid, pixels in zip(self.input_size, self.size, strict=True)
        ]

    def measure(self, advanced: Callable[[], None]) -> list[Measured]:
        """Find the masks that pass the filters.

        Args:
            advanced: called for each batch of points that is done.
        """
        numbers = range(len(self.points))
        starts = numbers[:: self.prompts]
        batches = [numbers[start : start + self.prompts] for start in starts]
        # Zero is no size to TensorRT, so each call has a mask of the first point brought along.
        calls = (self._call(batch, [0]) for batch in batches)
        found: list[Measured] = []
        for batch, answer in zip(batches, self.ask(calls), strict=True):
            found += self._filtered(batch, answer)
            advanced()
        return found

    def fetch(self, kept: Sequence[Measured]) -> list[Candidate]:
        """Give masks with their pixels, and with the boxes of these."""
        groups = [kept[start : start + self.prompts] for start in range(0, len(kept), self.prompts)]
        calls = (self._call(*_prompts_and_masks(group)) for group in groups)
        return [
            self._candidate(mask, bits)
            for group, answer in zip(groups, self.ask(calls), strict=True)
            for mask, bits in zip(group, answer["bits"], strict=True)
        ]

    def _call(self, prompts: Sequence[int], chosen: Sequence[int]) -> Call:
        """Ask for some points; always for as many, so that kernels and answers are the same."""
        points = self.points[[*prompts, *[prompts[-1]] * (self.prompts - len(prompts))]]
        rows, columns = self.weights
        arrays = {
            "image_embeddings": self.embeddings,
            **prompt_arrays(encode_prompts(self.size, self.input_size, points[:, None])),
            "row_weights": rows,
            "column_weights": columns,
            "stability_offset": np.array([self.settings.stability_score_offset], np.float32),
            "chosen": np.array(chosen, np.int32),
        }
        return Call(DECODED_MASKS, arrays)

    def _filtered(self, batch: Sequence[int], answer: Arrays) -> Iterator[Measured]:
        settings = self.settings
        left, top = self.crop_box[:2]
        scores = answer["iou_predictions"][:, 1:NUM_MASKS]
        for place, mask in np.argwhere(passing(scores[: len(batch)], settings)):
            self.check()
            stability = float(answer["stability_score"][place, mask])
            if not stable(stability, settings):
                continue
            x0, y0, x1, y1 = (float(side) for side in answer["boxes"][place, mask])
            box = (left + x0, top + y0, left + x1, top + y1)
            if not cut_off(box, self.crop_box, self.image_size):
                score = float(scores[place, mask])
                yield Measured(batch[place], int(mask), box, score, stability)

    def _candidate(self, mask: Measured, bits: NDArray[np.uint8]) -> Candidate:
        self.check()
        left, top = self.crop_box[:2]
        height, width = self.size
        pixels = np.unpackbits(bits[:height], axis=1)[:, :width].astype(np.bool_)
        x0, y0, x1, y1 = to_box(pixels) or (0, 0, 1, 1)  # an empty mask has SAM's 0, 0, 0, 0
        point = self.points[mask.prompt]
        return Candidate(
            to_rle(pixels[y0:y1, x0:x1]),
            (left + x0, top + y0),
            (float(left + x0), float(top + y0), float(left + x1 - 1), float(top + y1 - 1)),
            mask.predicted_iou,
            mask.stability_score,
            in_image(point, self.crop_box),
            self.crop_box,
        )


def _prompts_and_masks(masks: Sequence[Measured]) -> tuple[list[int], list[int]]:
    """Give the points that masks come from, and the masks' numbers among those of these."""
    prompts = list(dict.fromkeys(mask.prompt for mask in masks))
    return prompts, [(NUM_MASKS - 1) * prompts.index(mask.prompt) + mask.mask for mask in masks]
