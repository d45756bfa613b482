"""The filters from a decoder's answer to the masks that everything mode keeps of it.

Thresholds and scores are taken at full size, as SAM does, but only in the window of the image where
a logit can reach the lower threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slimsam_client.calls import Check, unwatched
from slimsam_client.contract import MASK_THRESHOLD, NUM_MASKS, Arrays
from slimsam_client.encodings import Rle, from_rle, to_box, to_rle
from slimsam_client.everything.crops import CropBox
from slimsam_client.everything.settings import GenerateSettings
from slimsam_client.masks.upscale import reached_window, upscaled_bands

EDGE_PIXELS = 20.0
"""A box closer than this to its crop's edge is cut off there (SAM's `is_box_near_crop_edge`)."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mask that passed the filters.

    Attributes:
        window: the mask's part of the image that holds all of it.
        corner: (x, y) of the window in the image.
        box: x0, y0, x1, y1 of the mask in the image, last pixels' indices as SAM has them.
        predicted_iou: the model's estimate.
        stability_score: the mask's stability score.
        point: (x, y) in the image.
        crop_box: the box of the crop that was segmented.
    """

    window: Rle
    corner: tuple[int, int]
    box: tuple[float, float, float, float]
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_box: CropBox

    def full_mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Give the mask in the whole image, `size` (height, width)."""
        mask = np.zeros(size, np.bool_)
        height, width = self.window["size"]
        x, y = self.corner
        mask[y : y + height, x : x + width] = from_rle(self.window, max_pixels=height * width)
        return mask


def passing(scores: NDArray[np.float32], settings: GenerateSettings) -> NDArray[np.bool_]:
    """Tell which predicted IoU pass."""
    threshold = settings.pred_iou_thresh
    good: NDArray[np.bool_] = scores > threshold if threshold > 0 else ~np.isnan(scores)
    return good


def stable(stability_score: float, settings: GenerateSettings) -> bool:
    """Tell whether a stability score passes.

    It is not `<`, because a mask without a pixel at either threshold has no score (NaN), and has to
    be dropped.
    """
    threshold = settings.stability_score_thresh
    return not threshold > 0 or stability_score >= threshold


def in_image(point: NDArray[np.float64], crop_box: CropBox) -> tuple[float, float]:
    """Give a crop's point, (x, y), in the image."""
    x, y = (float(np.float32(value + start)) for value, start in zip(point, crop_box, strict=False))
    return x, y


def cut_off(box: tuple[float, ...], crop_box: CropBox, image_size: tuple[int, ...]) -> bool:
    """Tell whether a box touches its crop's edge where the image goes on."""
    whole = (0, 0, image_size[1], image_size[0])
    return any(
        abs(side - edge) <= EDGE_PIXELS and abs(side - end) > EDGE_PIXELS
        for side, edge, end in zip(box, crop_box, whole, strict=True)
    )


def find_candidates(
    answer: Arrays,
    points: NDArray[np.float64],
    crop_box: CropBox,
    input_size: tuple[int, int],
    image_size: tuple[int, ...],
    settings: GenerateSettings,
    check: Check = unwatched,
) -> list[Candidate]:
    """Filter a decoder's answer.

    Args:
        answer: iou_predictions (P, 4) and low_res_masks (P, 4, 256, 256).
        points: (P, 2), (x, y) in pixels of the crop.
        crop_box: where the crop lies in the image.
        input_size: (height, width) of the crop in the 1024 frame.
        image_size: (height, width) of the image.
        settings: thresholds.
        check: called before each mask.
    """
    scores = answer["iou_predictions"][:, 1:NUM_MASKS]
    logits = answer["low_res_masks"][:, 1:NUM_MASKS]
    found = []
    for prompt, mask in np.argwhere(passing(scores, settings)):
        check()
        candidate = _candidate(
            logits[prompt, mask].astype(np.float32),
            float(scores[prompt, mask]),
            points[prompt],
            crop_box,
            input_size,
            image_size,
            settings,
        )
        if candidate is not None:
            found.append(candidate)
    return found


def _candidate(
    logits: NDArray[np.float32],
    predicted_iou: float,
    point: NDArray[np.float64],
    crop_box: CropBox,
    input_size: tuple[int, int],
    image_size: tuple[int, ...],
    settings: GenerateSettings,
) -> Candidate | None:
    left, top, right, bottom = crop_box
    offset = settings.stability_score_offset
    crop_size = bottom - top, right - left
    rows, columns = reached_window(logits, MASK_THRESHOLD - offset, input_size, crop_size)
    y, x = rows.start, columns.start
    inside = np.empty((rows.stop - y, columns.stop - x), np.bool_)
    bands = upscaled_bands(logits, input_size, crop_size, (rows, columns))
    stability_score = _fill(inside, bands, offset)
    if not stable(stability_score, settings):
        return None
    bounds = to_box(inside)
    # SAM gives an empty mask the box 0, 0, 0, 0.
    x0, y0, x1, y1 = (0, 0, 0, 0) if bounds is None else (*bounds[:2], bounds[2] - 1, bounds[3] - 1)
    shift_x, shift_y = (left, top) if bounds is None else (left + x, top + y)
    box = (float(x0 + shift_x), float(y0 + shift_y), float(x1 + shift_x), float(y1 + shift_y))
    if cut_off(box, crop_box, image_size):
        return None
    return Candidate(
        to_rle(inside if bounds is not None else np.zeros((1, 1), np.bool_)),
        (left + x, top + y),
        box,
        predicted_iou,
        stability_score,
        in_image(point, crop_box),
        crop_box,
    )


def _fill(
    mask: NDArray[np.bool_], bands: Iterable[tuple[slice, NDArray[np.float32]]], offset: float
) -> float:
    """Write the mask, and give SAM's stability score: the IoU of it at two other thresholds."""
    union = inner = 0
    for pixels, logits in bands:
        np.greater(logits, MASK_THRESHOLD, out=mask[pixels])
        union += np.count_nonzero(logits > MASK_THRESHOLD - offset)
        inner += np.count_nonzero(logits > MASK_THRESHOLD + offset)
    return float(np.float32(inner / union)) if union else float("nan")
