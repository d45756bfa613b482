"""One mask of everything mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from slimsam_client.encodings import Rle, from_rle, rle_area, to_json_rle
from slimsam_client.encodings.mask import check_pixels, checked_size
from slimsam_client.errors import MaskError, SettingsError
from slimsam_client.image.load import MAX_PIXELS
from slimsam_client.quoting import quoted, quoted_value


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
        height, width = self.rle["size"]
        return from_rle(self.rle, max_pixels=height * width)

    def as_dict(
        self, output_mode: Literal["binary_mask", "coco_rle"] = "binary_mask"
    ) -> dict[str, Any]:
        """Give the record in the shape that SAM's generator returns.

        Args:
            output_mode: what `segmentation` is, in SAM's words: "binary_mask", (H, W) bool; or
                "coco_rle", COCO's compressed RLE. With that, the whole can be written as JSON; a
                stability score that is no number (of a mask without pixels) becomes None.

        Raises:
            SettingsError: the mode is neither.
        """
        if output_mode not in ("binary_mask", "coco_rle"):
            raise SettingsError(
                f"output_mode: expected binary_mask or coco_rle, got {quoted_value(output_mode)}"
            )
        as_json = output_mode == "coco_rle"
        return {
            "segmentation": to_json_rle(self.rle) if as_json else self.segmentation,
            "area": self.area,
            "bbox": list(self.bbox),
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(self.point_coords)],
            "stability_score": None
            if as_json and isnan(self.stability_score)
            else self.stability_score,
            "crop_box": list(self.crop_box),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], max_pixels: int = MAX_PIXELS) -> MaskRecord:
        """Read what `as_dict("coco_rle")` gave, or SAM's generator in that mode.

        Args:
            content: the record.
            max_pixels: masks of larger images are refused: a few bytes of RLE may claim any size.

        Raises:
            MaskError: something is missing or of another type, the RLE is damaged, or the image
                has more than max_pixels.
        """
        try:
            rle = content["segmentation"]
            height, width = checked_size(rle["size"])
            counts = rle["counts"]
            stability_score = content["stability_score"]
            (point,) = content["point_coords"]
            record = cls(
                {
                    "size": [height, width],
                    "counts": counts if isinstance(counts, bytes) else counts.encode("ascii"),
                },
                int(content["area"]),
                _numbers(content["bbox"], 4),
                float(content["predicted_iou"]),
                nan if stability_score is None else float(stability_score),
                _numbers(point, 2),
                _numbers(content["crop_box"], 4),
            )
        except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError) as error:
            raise MaskError(
                'record: expected what as_dict("coco_rle") gives, got something else '
                f"({quoted(f'{type(error).__name__}: {error}')})"
            ) from error
        check_pixels("record", height, width, max_pixels)
        rle_area(record.rle)  # raises if its runs are not those of its size
        return record


def _numbers(values: Sequence[float], count: int) -> Any:
    """The numbers as a tuple of `count` floats."""
    if len(values) != count:
        raise ValueError(f"expected {count} numbers, got {len(values)}")
    return tuple(float(value) for value in values)


def checked_records(records: Iterable[MaskRecord]) -> list[MaskRecord]:
    """Give records as a list, if they are records.

    Raises:
        MaskError: they are something else.
    """
    given: list[Any] = list(records) if isinstance(records, Iterable) else [records]
    wrong = [value for value in given if not isinstance(value, MaskRecord)]
    if wrong or not isinstance(records, Iterable):
        raise MaskError(
            "records: expected a list of MaskRecords, as generate gives it, got "
            f"{type((wrong or given)[0]).__name__}; MaskRecord.from_dict reads what as_dict gave"
        )
    return given
