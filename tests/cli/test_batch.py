"""`slimsam batch` on one machine: what it reads, writes, refuses and survives."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from pycocotools.coco import COCO

from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.contract import ENCODER
from slimsam_client.encodings import from_rle
from slimsam_client.testing import FakeServer

NAMES = ["0.png", "2.png", "4.png", "below/1.png", "below/3.png", "below/5.png"]
FEW = ("--points-per-side", 2, "--pred-iou-thresh", 0, "--stability-score-thresh", 0)
BOXES = {name: [[5.0, 5.0, 30.0, 30.0], [10.0, 2.0, 50.0, 38.0]] for name in NAMES}
Run = Callable[..., tuple[int, str, str]]


def content_of(path: Path) -> Any:
    return json.loads(path.read_bytes())


def answers_of(output: Path) -> list[dict[str, Any]]:
    """The pictures' answers, in the order of the shards."""
    return [
        answer for path in sorted((output / "results").iterdir()) for answer in content_of(path)
    ]


@pytest.fixture
def detections(tmp_path: Path) -> Path:
    """Two boxes of each picture, in COCO's format."""
    path = tmp_path / "boxes.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": name, "file_name": name} for name in NAMES],
                "annotations": [
                    {
                        "image_id": name,
                        "category_id": number + 1,
                        "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    }
                    for name, boxes in BOXES.items()
                    for number, box in enumerate(boxes)
                ],
                "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            }
        )
    )
    return path


def test_coco(batch: Run, fake: str, pictures: Path, detections: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    line = (pictures, output, "--prompts", detections, "--shards", 4, "--url", fake)
    status, out, said = batch(*line)
    assert (status, out) == (0, f"6 images, 12 masks, 0 failed; wrote {output}\n")
    assert len(said.splitlines()) == 4 and "shard 0: 1 images, 2 masks" in said
    assert "6 of 6 images" in said.splitlines()[-1]
    annotations = content_of(output / "annotations.json")
    assert [image["file_name"] for image in annotations["images"]] == NAMES
    assert [category["name"] for category in annotations["categories"]] == ["cat", "dog"]
    with SlimSam(fake) as sam:
        for image in annotations["images"]:
            expected = sam.segment(
                pictures / image["file_name"],
                box=BOXES[image["file_name"]],
                multimask_output=False,
                masks="rle",
            )
            found = [mask for mask in annotations["annotations"] if mask["image_id"] == image["id"]]
            assert [mask["category_id"] for mask in found] == [1, 2]
            assert [mask["score"] for mask in found] == expected.best_scores.tolist()
            for mask, rle in zip(found, expected.rles, strict=True):
                assert mask["segmentation"]["counts"] == rle["counts"].decode()
                assert mask["area"] == from_rle(rle).sum()
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(output / "annotations.json"))
    assert len(coco.getAnnIds()) == 12
    # The same command finds all done, and asks nobody.
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert batch(*line[:-1], "127.0.0.1:1", "--json") == (
        0, json.dumps({"images": 6, "masks": 12, "failed": {}}) + "\n", "",
    )  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_everything_is_that_of_the_client(
    batch: Run, fake: str, pictures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert batch(pictures, output, *FEW, "--url", fake, "--quiet")[2] == ""
    settings = GenerateSettings(points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0)
    with SlimSam(fake) as sam:
        for answer in answers_of(output):
            records = sam.generate(pictures / answer["image"], settings)
            assert answer["height"] == 40 + int(answer["image"][-5])
            assert [mask["counts"] for mask in answer["masks"]] == [
                record.rle["counts"].decode() for record in records
            ]
            assert [mask["stability_score"] for mask in answer["masks"]] == [
                record.as_dict("coco_rle")["stability_score"] for record in records
            ]


def test_parquet(batch: Run, fake: str, pictures: Path, detections: Path, tmp_path: Path) -> None:
    (pictures / "bad.png").write_bytes(b"no picture")
    options = ("--prompts", detections, "--shards", 2, "--url", fake)
    assert batch(pictures, tmp_path / "json", *options)[0] == 1
    status, _, said = batch(pictures, tmp_path / "out", "--format", "parquet", *options)
    assert status == 1 and "failed: bad.png: expected an image" in said
    table = parquet.read_table(tmp_path / "out" / "results")
    assert table.to_pylist() == answers_of(tmp_path / "json")
    assert not (tmp_path / "out" / "annotations.json").exists()
    assert list(content_of(tmp_path / "out" / "summary.json")["failed"]) == ["bad.png"]
    # An engine that starts failed workers again is told that all is done.
    assert batch(pictures, tmp_path / "out", "--format", "parquet", *options, "--lenient")[0] == 0


def test_pngs(batch: Run, fake: str, pictures: Path, detections: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = ("--prompts", detections, "--url", fake)
    assert batch(pictures, output, "--format", "png", *options)[0] == 0
    for answer in answers_of(output):
        for number, mask in enumerate(answer["masks"]):
            with Image.open(output / "masks" / answer["image"] / f"{number:03}.png") as opened:
                drawn = np.asarray(opened)
            size = [answer["height"], answer["width"]]
            expected = from_rle({"size": size, "counts": mask["counts"]})
            assert np.array_equal(drawn, expected)
    assert len([path for path in output.rglob("*.png") if path.is_file()]) == 12


def yolo(folder: Path) -> Path:
    for name, boxes in BOXES.items():
        path = folder / Path(name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        height = 40 + int(name[-5])
        lines = [
            f"{number + 1} {(x0 + x1) / 120} {(y0 + y1) / 2 / height} {(x1 - x0) / 60} "
            f"{(y1 - y0) / height} 0.9\n"
            for number, (x0, y0, x1, y1) in enumerate(boxes)
        ]
        path.write_text("".join(lines))
    return folder


def test_the_same_detections_of_every_kind(
    batch: Run, fake: str, pictures: Path, detections: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.json"  # as detectors write them: the id is the name's number
    results.write_text(
        json.dumps(
            [
                {"image_id": int(name[-5]), "category_id": number + 1, "score": 0.5,
                 "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
                for name, boxes in BOXES.items()
                for number, box in enumerate(boxes)
            ]
        )
    )  # fmt: skip
    a_row_each = tmp_path / "boxes.parquet"
    rows = [
        {"image": name, "box": box, "category": number + 1}
        for name, boxes in BOXES.items()
        for number, box in enumerate(boxes)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), a_row_each)
    lists = tmp_path / "lists.parquet"
    rows = [{"image": name, "boxes": boxes, "categories": [1, 2]} for name, boxes in BOXES.items()]
    parquet.write_table(pa.Table.from_pylist(rows), lists)
    found = []
    for number, source in enumerate(
        [detections, results, a_row_each, lists, yolo(tmp_path / "labels")]
    ):
        output = tmp_path / f"out-{number}"
        status, _, said = batch(pictures, output, "--prompts", source, "--url", fake)
        assert status == 0, said
        found.append(answers_of(output))
    assert all(len(answer["masks"]) == 2 for answer in found[0])
    assert all(answers == found[0] for answers in found)


def test_the_same_pictures_of_every_kind(
    batch: Run, fake: str, pictures: Path, detections: Path, tmp_path: Path
) -> None:
    """A list, a tar, and Parquet, with the prompts beside the pictures where they can be."""
    contents = {name: (pictures / name).read_bytes() for name in NAMES}
    (pictures / "list.txt").write_text("\n".join(NAMES) + "\n\n")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name, content in contents.items():
            text = json.dumps({"boxes": BOXES[name], "categories": [1, 2]}).encode()
            for member, data in ((name, content), (f"{name[:-4]}.json", text)):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    rows = [
        {"image": {"bytes": content, "path": name}, "boxes": BOXES[name], "categories": [1, 2]}
        for name, content in contents.items()
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet", row_group_size=4)
    rows = [{"jpg": content, "key": name} for name, content in contents.items()]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "plain.parquet", row_group_size=4)
    rows = [{"image": f"pictures/{name}", "key": name} for name in NAMES]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "paths.parquet")
    found = []
    for number, (source, options) in enumerate(
        {
            "pictures": ["--prompts", detections],
            "pictures/list.txt": ["--prompts", detections],
            "set.tar": ["--prompts", "beside"],
            "set.parquet": ["--prompts", "beside"],
            "plain.parquet": [
                "--prompts", detections, "--image-column", "jpg", "--name-column", "key",
            ],
            "paths.parquet": ["--prompts", detections, "--name-column", "key"],
        }.items()
    ):  # fmt: skip
        output = tmp_path / f"out-{number}"
        line = (tmp_path / source, output, *options, "--url", fake, "--shards", 3)
        status, _, said = batch(*line)
        assert status == 0, (source, said)
        found.append(answers_of(output))
    assert [answer["image"] for answer in found[0]] == NAMES
    assert all(answers == found[0] for answers in found)
    # Several at once have their file's name before the pictures'.
    shutil.copy(tmp_path / "set.tar", tmp_path / "two.tar")
    output = tmp_path / "two"
    status, _, said = batch(tmp_path / "*.tar", output, "--prompts", "beside", "--url", fake)
    assert status == 0, said
    names = [answer["image"] for answer in answers_of(output)]
    assert names == [f"{tar}/{name}" for tar in ("set.tar", "two.tar") for name in NAMES]


def test_points_and_their_labels(batch: Run, fake: str, pictures: Path, tmp_path: Path) -> None:
    points = [[[10.0, 10.0], [20.0, 30.0]], [[30.0, 20.0]]]
    rows = [{"image": "0.png", "points": points, "labels": [[1, 0], [1]]}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "points.parquet")
    output = tmp_path / "out"
    options = ("--prompts", tmp_path / "points.parquet", "--multimask", "--url", fake)
    assert batch(pictures, output, *options)[0] == 0
    first, *others = answers_of(output)
    assert not any(answer["masks"] for answer in others)
    with SlimSam(fake) as sam:
        expected = sam.segment(pictures / "0.png", points=points, labels=[[1, 0], [1]], masks="rle")
    assert [mask["counts"].encode() for mask in first["masks"]] == [
        rle["counts"] for rle in expected.rles
    ]


def test_embeddings_are_kept_and_used_again(
    batch: Run, pictures: Path, detections: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    options = ("--prompts", detections, "--embeddings", kept)
    with FakeServer() as server:
        assert batch(pictures, tmp_path / "one", *options, "--url", server.url)[0] == 0
        asked = [request.model for request in server.requests]
        assert asked.count(ENCODER.name) == len(NAMES)
        files = list(kept.rglob("*.npz"))
        assert len(files) == len(NAMES)
        with np.load(files[0]) as arrays:
            assert arrays["image_embeddings"].dtype == np.float16
        files[0].write_bytes(files[0].read_bytes()[:1000])  # damaged: it is made again
        assert batch(pictures, tmp_path / "two", *options, "--url", server.url)[0] == 0
        asked = [request.model for request in server.requests]
        assert asked.count(ENCODER.name) == len(NAMES) + 1
    assert answers_of(tmp_path / "one") == answers_of(tmp_path / "two")
