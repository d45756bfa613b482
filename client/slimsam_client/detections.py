"""Results as `supervision.Detections`, for supervision's annotators, trackers and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slimsam_client.encodings import rle_box, to_box
from slimsam_client.errors import MaskError, MissingExtraError
from slimsam_client.everything import MaskRecord
from slimsam_client.results import Prediction

if TYPE_CHECKING:
    from supervision import Detections


def to_supervision(result: Prediction | Sequence[MaskRecord]) -> Detections:
    """Give a result as detections.

    `xyxy` is as supervision has it, last pixels' indices; of an empty mask it is 0, 0, 0, 0.
    `class_id` is 0 everywhere, since SAM knows no classes.

    Args:
        result: a prediction, whose best mask of each prompt becomes a detection with its score as
            the confidence; or records of one image, whose confidence is the predicted IoU.

    Returns:
        The detections, in the result's order. Records' masks stay runs, supervision's
        `CompactMask`: a few kB each instead of H x W bytes. Their `data` has `stability_score`.

    Raises:
        MaskError: the records are of images of different sizes.
        MissingExtraError: supervision is not installed.
    """
    try:
        from supervision import Detections
        from supervision.detection.compact_mask import CompactMask
    except ImportError as error:
        raise MissingExtraError(
            "to_supervision: expected supervision, found none; "
            "run `pip install slimsam-client[supervision]`"
        ) from error
    if isinstance(result, Prediction):
        masks = result.best_masks.reshape(-1, *result.masks.shape[-2:])
        return Detections(
            _inclusive([to_box(mask) for mask in masks]),
            masks,
            result.scores.max(axis=-1).reshape(-1),
            np.zeros(len(masks), np.int64),
        )
    if not result:
        return Detections.empty()
    height, width = result[0].rle["size"]
    for record in result:
        if record.rle["size"] != [height, width]:
            raise MaskError(
                "records: expected those of one image, got sizes "
                f"{[height, width]} and {record.rle['size']}"
            )
    xyxy = _inclusive([rle_box(record.rle) for record in result])
    return Detections(
        xyxy,
        CompactMask.from_coco_rle([record.rle for record in result], xyxy, (height, width)),
        np.array([record.predicted_iou for record in result], np.float32),
        np.zeros(len(result), np.int64),
        data={"stability_score": np.array([record.stability_score for record in result])},
    )


def _inclusive(boxes: list[tuple[int, int, int, int] | None]) -> NDArray[np.float32]:
    """Boxes (n, 4) with the last pixels' indices."""
    given = [(0, 0, 1, 1) if box is None else box for box in boxes]
    return np.array(given, np.float32).reshape(-1, 4) - np.array([0, 0, 1, 1], np.float32)
