"""Everything mode as a generator of calls: grids over crops, filters, suppression, records."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from slimsam_client.calls import Call, Check, Steps, unwatched
from slimsam_client.contract import BULK_DECODER, ENCODER
from slimsam_client.encodings import rle_area, to_box, to_rle
from slimsam_client.everything.candidates import Candidate, find_candidates
from slimsam_client.everything.crops import CropBox, crop_boxes, point_grid
from slimsam_client.everything.in_graph import Ask, CropInGraph, Measured, prompts_at_once
from slimsam_client.everything.nms import box_nms
from slimsam_client.everything.record import MaskRecord
from slimsam_client.everything.regions import remove_small_regions
from slimsam_client.everything.settings import GenerateSettings
from slimsam_client.image.load import preprocess
from slimsam_client.prompts.encode import encode_prompts, prompt_arrays

Boxed = TypeVar("Boxed", Candidate, Measured)

Progress = Callable[[int, int], object]
"""Such a function is called with how many requests are done, and how many there are in all."""


def generate_records(
    image: NDArray[np.uint8],
    settings: GenerateSettings,
    progress: Progress | None,
    check: Check = unwatched,
    ask: Ask | None = None,
    original_size: tuple[int, int] | None = None,
) -> Steps[list[MaskRecord]]:
    """Segment everything in an image.

    Args:
        image: (H, W, 3) uint8, RGB.
        settings: settings of everything mode.
        progress: called for each request that is done.
        check: called before each call and each mask; what it raises ends the work.
        ask: answers calls of slimsam_decoder_masks, which then makes the masks of all crops that
            are not too large for it; the decoder's calls are yielded without.
        original_size: (height, width) of the image before it was reduced, in pixels of which the
            records are; None if it was not.

    Returns:
        The records, in SAM's order.
    """
    size = original_size or (image.shape[0], image.shape[1])
    jobs = _jobs(size, settings)
    total = sum(1 + -(-(side**2) // settings.points_per_request) for _, side in jobs)
    done = 0

    def advanced() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    kept: list[Candidate] = []
    for crop_box, per_side in jobs:
        kept += yield from _process_crop(
            image, size, crop_box, per_side, settings, advanced, check, ask
        )
    if len(jobs) > 1:
        # A mask of a smaller crop is preferred.
        scores = np.array([1 / _area(candidate.crop_box) for candidate in kept], np.float32)
        kept = _suppressed(kept, scores, settings.crop_nms_thresh, check)
    if settings.min_mask_region_area > 0:
        return _cleaned(kept, size, settings, check)
    records = []
    for candidate in kept:
        check()
        records.append(_record(candidate, candidate.full_mask(size)))
    return records


def calls_in_graph(size: tuple[int, int], settings: GenerateSettings) -> int:
    """Give how many calls find the masks of an image (height, width) where `ask` answers them.

    Those that fetch the masks which stay are not counted.
    """
    calls = 0
    for crop_box, side in _jobs(size, settings):
        crop_size = crop_box[3] - crop_box[1], crop_box[2] - crop_box[0]
        points = prompts_at_once(crop_size, settings.points_per_request)
        calls += 1 + -(-(side**2) // (points or settings.points_per_request))
    return calls


def _jobs(size: tuple[int, int], settings: GenerateSettings) -> list[tuple[CropBox, int]]:
    """Give the crops of an image (height, width), and the points along each side of theirs."""
    layers = crop_boxes(*size, settings.crop_n_layers, settings.crop_overlap_ratio)
    return [
        (crop_box, settings.side_of_layer(i))
        for i, layer in enumerate(layers)
        for crop_box in layer
    ]


def _process_crop(
    image: NDArray[np.uint8],
    image_size: tuple[int, int],
    crop_box: CropBox,
    per_side: int,
    settings: GenerateSettings,
    advanced: Callable[[], None],
    check: Check,
    ask: Ask | None,
) -> Steps[list[Candidate]]:
    x0, y0, x1, y1 = crop_box
    size = (y1 - y0, x1 - x0)
    frame, valid = preprocess(_cut(image, image_size, crop_box))
    input_size = (int(valid[0]), int(valid[1]))
    check()
    answer = yield Call(ENCODER, {"image": frame, "input_size": valid})
    embeddings = answer["image_embeddings"].copy()
    embeddings.flags.writeable = False  # so that shared memory is written only once
    advanced()
    points = point_grid(per_side, *size)
    at_once = prompts_at_once(size, settings.points_per_request)
    if ask is not None and at_once:
        crop = CropInGraph(
            ask, embeddings, points, crop_box, input_size, image_size, settings, at_once, check
        )
        measured = crop.measure(advanced)
        scores = np.array([mask.predicted_iou for mask in measured], np.float32)
        return crop.fetch(_suppressed(measured, scores, settings.box_nms_thresh, check))
    found: list[Candidate] = []
    for start in range(0, len(points), settings.points_per_request):
        batch = points[start : start + settings.points_per_request]
        prompts = encode_prompts(size, input_size, batch[:, None])
        check()
        answer = yield Call(
            BULK_DECODER, {"image_embeddings": embeddings, **prompt_arrays(prompts)}
        )
        found += find_candidates(answer, batch, crop_box, input_size, image_size, settings, check)
        advanced()
    scores = np.array([candidate.predicted_iou for candidate in found], np.float32)
    return _suppressed(found, scores, settings.box_nms_thresh, check)


def _cut(image: NDArray[np.uint8], size: tuple[int, int], crop_box: CropBox) -> NDArray[np.uint8]:
    """Cut a crop, a pixel at least, out of an image, which may be smaller than its size."""
    x0, y0, x1, y1 = crop_box
    parts = []
    for start, stop, side, pixels in zip((y0, x0), (y1, x1), size, image.shape, strict=False):
        first = min(round(start * pixels / side), pixels - 1)
        parts.append(slice(first, max(round(stop * pixels / side), first + 1)))
    return np.ascontiguousarray(image[parts[0], parts[1]])


def _suppressed(
    candidates: list[Boxed], scores: NDArray[np.float32], threshold: float, check: Check
) -> list[Boxed]:
    boxes = np.array([candidate.box for candidate in candidates], np.float32).reshape(-1, 4)
    return [candidates[index] for index in box_nms(boxes, scores, threshold, check)]


def _cleaned(
    candidates: list[Candidate], size: tuple[int, int], settings: GenerateSettings, check: Check
) -> list[MaskRecord]:
    """Remove small regions and holes, and then masks that have become duplicates by it."""
    records, boxes, scores = [], [], []
    for candidate in candidates:
        check()
        mask, changed = remove_small_regions(
            candidate.full_mask(size), settings.min_mask_region_area
        )
        bounds = to_box(mask)
        box = (0, 0, 0, 0) if bounds is None else (*bounds[:2], bounds[2] - 1, bounds[3] - 1)
        records.append(_record(candidate, mask, box if changed else candidate.box))
        boxes.append(box)
        scores.append(0.0 if changed else 1.0)  # masks that were not changed are preferred
    kept = box_nms(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        max(settings.box_nms_thresh, settings.crop_nms_thresh),
        check,
    )
    return [records[index] for index in kept]


def _record(
    candidate: Candidate, mask: NDArray[np.bool_], box: tuple[float, ...] | None = None
) -> MaskRecord:
    x0, y0, x1, y1 = candidate.box if box is None else box
    left, top, right, bottom = candidate.crop_box
    rle = to_rle(mask)
    return MaskRecord(
        rle,
        rle_area(rle),
        (float(x0), float(y0), float(x1 - x0), float(y1 - y0)),
        candidate.predicted_iou,
        candidate.stability_score,
        candidate.point,
        (float(left), float(top), float(right - left), float(bottom - top)),
    )


def _area(box: CropBox) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
