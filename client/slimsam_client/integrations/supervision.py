"""Results as `supervision.Detections`, for supervision's annotators, trackers and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slimsam_client.encodings import Rle, rle_box, to_box
from slimsam_client.errors import MaskError, MissingExtraError
from slimsam_client.everything import MaskRecord
from slimsam_client.everything.record import checked_records
from slimsam_client.results import Prediction

if TYPE_CHECKING:
    from supervision import Detections


def to_supervision(result: Prediction | Iterable[MaskRecord]) -> Detections:
    """Give a result as detections.

    `xyxy` has the last pixels' indices, as supervision has it; an empty mask's is 0, 0, 0, 0.
    `class_id` is 0 everywhere, since SAM knows no classes.

    Args:
        result: a prediction, whose best mask of each prompt becomes a detection with its score as
            the confidence; or records of one image, whose confidence is the predicted IoU.

    Returns:
        The detections, in the result's order. Records' masks, and those of a call with
        `masks="rle"`, stay runs, supervision's `CompactMask`: a few kB each instead of H x W bytes.
        Records' `data` has `stability_score`.

    Raises:
        MaskError: it is none of these, the records are of images of different sizes, or the
            prediction was made with `masks=None`.
        MissingExtraError: supervision is not installed.
    """
    try:
        from supervision import Detections
    except ImportError as error:
        raise MissingExtraError(
            "to_supervision: expected supervision, found none; "
            "run `pip install slimsam-client[supervision]`"
        ) from error
    if isinstance(result, Prediction):
        scores = np.asarray(result.best_scores).reshape(-1)
        classes = np.zeros(len(scores), np.int64)
        if result.has_masks:
            masks = result.best_masks.reshape(-1, *result.masks.shape[-2:])
            return Detections(_inclusive([to_box(mask) for mask in masks]), masks, scores, classes)
        return _compact(result.rles, scores) if len(scores) else Detections.empty()
    records = checked_records(result)
    if not records:
        return Detections.empty()
    scores = np.array([record.predicted_iou for record in records], np.float32)
    detections = _compact([record.rle for record in records], scores)
    detections.data["stability_score"] = np.array([record.stability_score for record in records])
    return detections


def _compact(rles: Sequence[Rle], scores: NDArray[np.float32]) -> Detections:
    """Make detections whose masks stay runs; there is at least one."""
    from supervision import Detections
    from supervision.detection.compact_mask import CompactMask

    height, width = rles[0]["size"]
    for rle in rles:
        if rle["size"] != [height, width]:
            raise MaskError(
                "records: expected those of one image, got sizes "
                f"{[height, width]} and {rle['size']}"
            )
    xyxy = _inclusive([rle_box(rle) for rle in rles])
    masks = CompactMask.from_coco_rle(list(rles), xyxy, (height, width))
    return Detections(xyxy, masks, scores, np.zeros(len(rles), np.int64))


def _inclusive(boxes: list[tuple[int, int, int, int] | None]) -> NDArray[np.float32]:
    """Boxes (n, 4) with the last pixels' indices."""
    given = [(0, 0, 1, 1) if box is None else box for box in boxes]
    return np.array(given, np.float32).reshape(-1, 4) - np.array([0, 0, 1, 1], np.float32)
