"""COCO's annotations file for the records of many images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from slimsam_client.encodings import rle_area, rle_box, to_json_rle
from slimsam_client.errors import MaskError
from slimsam_client.everything import MaskRecord

CATEGORY: Final = {"id": 1, "name": "object", "supercategory": "object"}
"""The one category: everything mode knows that something is an object, and not what it is."""


def coco_dataset(
    images: Iterable[tuple[str, tuple[int, int], Sequence[MaskRecord]]],
) -> dict[str, Any]:
    """Make a COCO dataset, ready for `json.dump`.

    Args:
        images: file name, (height, width) in pixels, and records of each image.

    Returns:
        COCO's object detection format: `images`, `annotations` with masks as compressed RLE,
        `bbox` as x, y, width, height and `score`, which is the predicted IoU; and one category.
        Ids count from 1.

    Raises:
        MaskError: a record is not of its image's size.
    """
    described: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (file_name, (height, width), records) in enumerate(images, 1):
        described.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for record in records:
            if record.rle["size"] != [height, width]:
                raise MaskError(
                    f"{file_name}: expected masks of (height, width) {[height, width]}, "
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


def _annotation(annotation_id: int, image_id: int, record: MaskRecord) -> dict[str, Any]:
    # From the mask, since the record's own box is SAM's, one pixel less each way.
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
