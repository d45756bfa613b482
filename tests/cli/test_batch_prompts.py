"""Detections that may be of either of two pictures of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slimsam_client.batch.coco_prompts import coco_prompts
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.yolo_prompts import yolo_prompts
from slimsam_client.errors import SettingsError


def pictures(*names: str) -> list[Picture]:
    return [Picture(name, f"/{name}") for name in names]


def written(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def box(image_id: int) -> dict[str, object]:
    return {"image_id": image_id, "category_id": 1, "bbox": [1, 2, 3, 4]}


def test_a_number_that_two_names_have(tmp_path: Path) -> None:
    found = pictures("a/0001.jpg", "b/1.jpg", "2.jpg")
    with pytest.raises(SettingsError, match=r"image_id 1 .*'a/0001.jpg' and 'b/1.jpg'"):
        coco_prompts(written(tmp_path / "results.json", [box(2), box(1)]), found)
    prompts_of, _ = coco_prompts(written(tmp_path / "results.json", [box(2)]), found)
    assert [prompts_of(picture) is not None for picture in found] == [False, False, True]


def test_an_image_id_that_two_files_have(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]
    content = {"images": images, "annotations": [box(1)]}
    with pytest.raises(SettingsError, match=r"image_id 1 .*'a.jpg' and 'b.jpg'"):
        coco_prompts(written(tmp_path / "boxes.json", content), pictures("a.jpg", "b.jpg"))


def test_a_file_name_without_the_folder_that_two_pictures_have(tmp_path: Path) -> None:
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [box(1)]}
    source = written(tmp_path / "boxes.json", content)
    two = pictures("a/1.jpg", "b/1.jpg")
    prompts_of, _ = coco_prompts(source, two)
    with pytest.raises(SettingsError, match=r"file_name '1.jpg' .*'a/1.jpg' and 'b/1.jpg'"):
        prompts_of(two[0])
    # One picture has this very name.
    found = [*two, *pictures("1.jpg")]
    prompts_of, _ = coco_prompts(source, found)
    assert [prompts_of(picture) is not None for picture in found] == [False, False, True]


def test_labels_of_two_pictures_of_one_stem(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    found = pictures("a.jpg", "a.png", "b.jpg", "b.png")
    prompts_of = yolo_prompts(str(tmp_path), found)
    with pytest.raises(SettingsError, match=r"labels 'a.txt' .*'a.jpg' and 'a.png'"):
        prompts_of(found[1])
    assert prompts_of(found[2]) is None and prompts_of(found[3]) is None
