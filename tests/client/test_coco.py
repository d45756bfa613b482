"""The dataset, as pycocotools reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO

from slimsam_client import MaskError, MaskRecord
from slimsam_client.encodings import to_rle
from slimsam_client.integrations.coco import coco_dataset

# Two pictures with masks, one without.
SIZES = {"a.jpg": (40, 30), "folder/b.png": (7, 90), "empty.jpg": (5, 5)}


def masks_of(name: str) -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(len(name))
    height, width = SIZES[name]
    if name == "empty.jpg":
        return []
    block = np.zeros((height, width), np.bool_)
    block[2:6, 3:25] = True
    return [block, rng.random((height, width)) < 0.5, ~block, np.zeros_like(block)]


def records_of(name: str) -> list[MaskRecord]:
    crop = (0.0, 0.0, 1.0, 1.0)
    return [
        MaskRecord(to_rle(mask), int(mask.sum()), crop, 0.9 - index / 10, 0.95, (1.0, 1.0), crop)
        for index, mask in enumerate(masks_of(name))
    ]


@pytest.fixture
def loaded(tmp_path: Path) -> COCO:
    dataset = coco_dataset((name, size, records_of(name)) for name, size in SIZES.items())
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(dataset, allow_nan=False))
    return COCO(str(path))


def test_pycocotools_decodes_each_mask(loaded: COCO) -> None:
    for image_id, (name, (height, width)) in enumerate(SIZES.items(), 1):
        image = loaded.imgs[image_id]
        assert (image["file_name"], image["height"], image["width"]) == (name, height, width)
        annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[image_id]))
        masks = masks_of(name)
        assert len(annotations) == len(masks)
        for annotation, mask in zip(annotations, masks, strict=True):
            assert np.array_equal(loaded.annToMask(annotation), mask)
            assert annotation["area"] == mask.sum()


def test_boxes_are_cocos(loaded: COCO) -> None:
    first, _, _, empty = loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))
    assert first["bbox"] == [3, 2, 22, 4]
    assert empty["bbox"] == [0, 0, 0, 0] and empty["area"] == 0


def test_ids_scores_and_the_category(loaded: COCO) -> None:
    annotations = loaded.dataset["annotations"]
    assert [annotation["id"] for annotation in annotations] == list(range(1, 9))
    assert [annotation["score"] for annotation in annotations[:2]] == [0.9, 0.8]
    assert loaded.getCatIds(catNms=["object"]) == [1]
    assert loaded.getAnnIds(catIds=[1], iscrowd=False) == list(range(1, 9))


def test_annotations_serve_as_results(loaded: COCO) -> None:
    """What COCO's evaluation reads: image_id, category_id, segmentation, score."""
    results = loaded.loadRes(loaded.dataset["annotations"])
    assert len(results.anns) == 8


def test_records_of_another_image_are_refused() -> None:
    with pytest.raises(MaskError, match=r"a\.jpg: expected masks of .* \[30, 40\], got \[40, 30\]"):
        coco_dataset([("a.jpg", (30, 40), records_of("a.jpg"))])


def test_names_and_sizes_of_any_type_fit_into_json() -> None:
    size = SIZES["a.jpg"]
    expected = coco_dataset([("a.jpg", size, records_of("a.jpg"))])
    found = coco_dataset([(Path("a.jpg"), np.array(size), iter(records_of("a.jpg")))])  # type: ignore[list-item]
    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize(
    "entry",
    ["a.jpg", ("a.jpg", (40, 30)), (7, (40, 30), []), ("a.jpg", 40, []), ("a.jpg", (40, 30), [1]),
     ("a.jpg", (40, 30), None), None],
)  # fmt: skip
def test_what_describes_no_image(entry: Any) -> None:
    with pytest.raises(MaskError, match=r"^(images|size|records): expected"):
        coco_dataset([entry])
