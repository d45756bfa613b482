"""One mask of everything mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimsam_client.encodings import Rle, from_rle


@dataclass(frozen=True, eq=False)
class MaskRecord:
    """One mask and what is known of it, with the names of SAM's records.

    Attributes:
        rle: the mask as COCO's compressed RLE, `{"size": [height, width], "counts": bytes}`.
        area: pixels of the mask.
        bbox: x, y, width, height in pixels. As SAM has it: from the first to the last pixel's
            index, so one less than COCO's width and height.
        predicted_iou: the model's own estimate.
        stability_score: IoU of the mask with itself at shifted thresholds.
        point_coords: (x, y) of the grid point that it comes from, in pixels.
        crop_box: x, y, width, height of the crop that it comes from, in pixels.
    """

    rle: Rle
    area: int
    bbox: tuple[float, float, float, float]
    predicted_iou: float
    stability_score: float
    point_coords: tuple[float, float]
    crop_box: tuple[float, float, float, float]

    @property
    def segmentation(self) -> NDArray[np.bool_]:
        """The mask, (H, W) bool, decoded anew at each look."""
        return from_rle(self.rle)

    def as_dict(self) -> dict[str, Any]:
        """Give the record in the shape that SAM's generator returns."""
        return {
            "segmentation": self.segmentation,
            "area": self.area,
            "bbox": list(self.bbox),
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(self.point_coords)],
            "stability_score": self.stability_score,
            "crop_box": list(self.crop_box),
        }
