"""COCO's annotations for the records of many images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from slimsam_client.encodings import rle_area, rle_box, to_json_rle
from slimsam_client.encodings.mask import checked_size
from slimsam_client.errors import MaskError
from slimsam_client.everything import MaskRecord
from slimsam_client.everything.record import checked_records
from slimsam_client.quoting import quoted

CATEGORY_ID: Final = 1
CATEGORY: Final = {"id": CATEGORY_ID, "name": "object", "supercategory": "object"}
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


def coco_annotation(
    annotation_id: int,
    image_id: int,
    category_id: int,
    segmentation: Mapping[str, Any],
    area: int,
    bbox: Sequence[int],
    score: float,
) -> dict[str, Any]:
    """Give the annotation of one mask.

    Args:
        annotation_id: counted from 1, over all images.
        image_id: of its image.
        category_id: of its category.
        segmentation: compressed RLE: `size` (height, width) in pixels and `counts` as text.
        area: its pixels.
        bbox: x, y, width, height in pixels.
        score: the predicted IoU.
    """
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": dict(segmentation),
        "area": area,
        "bbox": list(bbox),
        "iscrowd": 0,
        "score": score,
    }


def _annotation(annotation_id: int, image_id: int, record: MaskRecord) -> dict[str, Any]:
    # The box is the mask's, since the record's own is SAM's, which is one pixel less each way.
    x0, y0, x1, y1 = rle_box(record.rle) or (0, 0, 0, 0)
    return coco_annotation(
        annotation_id,
        image_id,
        CATEGORY_ID,
        to_json_rle(record.rle),
        rle_area(record.rle),
        [x0, y0, x1 - x0, y1 - y0],
        record.predicted_iou,
    )
