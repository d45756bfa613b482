"""`slimsam export-coco`: one file that pycocotools reads."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from slimsam_client.encodings import from_rle, to_box

Run = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[..., tuple[int, str, str]]


def test_pycocotools_reads_it(slimsam: Run, annotated: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.json"
    done = slimsam("export-coco", annotated, "-o", output)
    assert done.returncode == 0, done.stderr
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(str(output))
    assert done.stdout == (
        f"{len(dataset.anns)} annotations of {len(dataset.imgs)} images; wrote {output}\n"
    )
    assert len(dataset.imgs) == 4 and len(dataset.anns) > 0
    assert [category["name"] for category in dataset.cats.values()] == ["object"]
    for image in dataset.imgs.values():
        written = json.loads((annotated / f"{image['file_name']}.json").read_bytes())
        assert (image["height"], image["width"]) == (written["height"], written["width"])
        annotations = dataset.imgToAnns[image["id"]]
        assert len(annotations) == len(written["records"])
        for annotation, record in zip(annotations, written["records"], strict=True):
            mask = dataset.annToMask(annotation).astype(bool)
            assert np.array_equal(mask, from_rle(record["segmentation"]))
            x, y, width, height = annotation["bbox"]
            assert to_box(mask) == (x, y, x + width, y + height)
            assert annotation["area"] == mask.sum() == record["area"]


def test_to_the_folder_or_to_standard_output(slimsam: Run, annotated: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(annotated, tmp_path / "folder")
    for _ in range(2):  # what it wrote itself is not taken for records
        assert slimsam("export-coco", folder).returncode == 0
    content = json.loads((folder / "annotations.json").read_bytes())
    assert json.loads(slimsam("export-coco", folder, "-o", "-").stdout) == content


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image", '"../../../etc/passwd"'), ("image", '"a/../../b.png"'),
        ("image", '"/etc/passwd"'),
        ("image", '""'), ("image", "null"), ("image", "5"), ("image", '"a\\u0000b.png"'),
        ("height", "1e400"), ("height", "NaN"), ("height", "-Infinity"), ("height", "-1"),
        ("height", "0"), ("height", "1.5"), ("height", "true"), ("width", "null"),
        ("width", '"30"'), ("width", "1" * 5000), ("width", "1" + "0" * 40), ("width", DEEP),
        ("records", DEEP), ("records", '"x"'), ("records", "{}"), ("records", "[null]"),
        ("settings", DEEP), ("settings", "[]"), ("settings", '{"pred_iou_thresh": 1e999}'),
    ],
)  # fmt: skip
def test_records_of_anyone_are_refused_in_one_line(
    quick: Main, fake: str, tmp_path: Path, key: str, value: str
) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    output = tmp_path / "output"
    status, _, _ = quick(
        "everything", tmp_path, "-o", output, "--points-per-side", 2, "--url", fake
    )
    assert status == 0
    path = output / "a.png.json"
    content = json.loads(path.read_bytes())
    assert content["records"]
    content[key] = "PLACE"
    path.write_text(json.dumps(content).replace('"PLACE"', value))
    status, out, said = quick("export-coco", output)
    assert (status, out) == (2, "")
    assert said.startswith("slimsam: error: ") and len(said.splitlines()) == 1
    assert len(said) < 1000 and not (output / "annotations.json").exists()


@pytest.mark.parametrize("key", ["predicted_iou", "stability_score", "bbox", "area"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", "[[]]", "{}", '"a"'])
def test_scores_are_numbers_that_json_has(
    quick: Main, fake: str, tmp_path: Path, key: str, value: str
) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    output = tmp_path / "output"
    quick("everything", tmp_path, "-o", output, "--points-per-side", 2, "--url", fake)
    path = output / "a.png.json"
    content = json.loads(path.read_bytes())
    content["records"][0][key] = "PLACE"
    path.write_text(json.dumps(content).replace('"PLACE"', value))
    status, out, said = quick("export-coco", output)
    assert (status, out) == (2, "") and len(said.splitlines()) == 1


def test_records_that_never_end_are_not_read(quick: Main, tmp_path: Path) -> None:
    (tmp_path / "a.png.json").symlink_to("/dev/zero")
    status, out, said = quick("export-coco", tmp_path)
    assert (status, out) == (2, "") and "a character device" in said
    (tmp_path / "a.png.json").unlink()
    os.mkfifo(tmp_path / "a.png.json")
    status, out, said = quick("export-coco", tmp_path)
    assert (status, out) == (2, "") and "a pipe, which is no regular file" in said


def test_mistakes(main: Main, annotated: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        status, out, said = main("export-coco", *arguments)
        assert (status, out) == (2, "")
        return said

    assert "expected records of `slimsam everything`" in refused(tmp_path)
    assert "found none" in refused(tmp_path / "none")
    folder = shutil.copytree(annotated, tmp_path / "folder")
    assert "cannot write" in refused(folder, "-o", "/nowhere/a.json")
    shutil.copytree(annotated, folder / "more")
    assert "records of different images, got those of a.jpg" in refused(folder)
    shutil.rmtree(folder / "more")
    path = folder / "a.png.json"
    content = json.loads(path.read_bytes())
    for damaged in (
        "{",
        "[]",
        json.dumps({**content, "records": [{}]}),
        json.dumps({**content, "settings": {"points": 1}}),
        json.dumps({key: content[key] for key in content if key != "height"}),
    ):
        path.write_text(damaged)
        assert "a.png.json: expected records as `slimsam everything` writes them" in refused(folder)
    assert not (folder / "annotations.json").exists()
