"""COCO's annotations for the records of many images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

from slimsam_client.encodings import rle_area, rle_box, to_json_rle
from slimsam_client.encodings.mask import checked_size
from slimsam_client.errors import MaskError
from slimsam_client.everything import MaskRecord
from slimsam_client.everything.record import checked_records
from slimsam_client.quoting import quoted

CATEGORY: Final = {"id": 1, "name": "object", "supercategory": "object"}
"""All records have this category, since everything mode does not know what an object is."""


def coco_dataset(
    images: Iterable[tuple[str | os.PathLike[str], tuple[int, int], Iterable[MaskRecord]]],
) -> dict[str, Any]:
    """Make a COCO dataset, ready for `json.dump`.

    Args:
        images: file name, (height, width) in pixels, and records of each image.

    Returns:
        COCO's object detection format: `images`, `annotations` with masks as compressed RLE,
        `bbox` as x, y, width, height and `score`, which is the predicted IoU; and one category.
        Ids count from 1.

    Raises:
        MaskError: a record is not of its image's size, or an image is described by other things.
    """
    described: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, entry in enumerate(images, 1):
        file_name, (height, width), records = _checked(entry)
        described.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for record in records:
            if record.rle["size"] != [height, width]:
                raise MaskError(
                    f"{quoted(file_name)}: expected masks of (height, width) {[height, width]}, "
                    f"got {record.rle['size']}; these records are of another image"
                )
            annotations.append(_annotation(len(annotations) + 1, image_id, record))
    return {
        "info": {"description": "Masks of SlimSAM's everything mode"},
        "licenses": [],
        "images": described,
        "annotations": annotations,
        "categories": [dict(CATEGORY)],
    }


def _checked(entry: Any) -> tuple[str, tuple[int, int], list[MaskRecord]]:
    try:
        file_name, size, records = entry
        return os.fspath(file_name), checked_size(size), checked_records(records)
    except MaskError:
        raise
    except (TypeError, ValueError) as error:
        raise MaskError(
            "images: expected (file name, (height, width), records) of each image, got another "
            f"({quoted(str(error))})"
        ) from error


def _annotation(annotation_id: int, image_id: int, record: MaskRecord) -> dict[str, Any]:
    # The box is the mask's, since the record's own is SAM's, which is one pixel less each way.
    x0, y0, x1, y1 = rle_box(record.rle) or (0, 0, 0, 0)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORY["id"],
        "segmentation": to_json_rle(record.rle),
        "area": rle_area(record.rle),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": record.predicted_iou,
    }
