"""Names and reasons that are no text, which files may have and Parquet may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.plan import Task, make_plan
from slimsam_client.batch.store import open_store
from slimsam_client.errors import SettingsError

FEW = ("--points-per-side", 2)
Run = Callable[..., tuple[int, str, str]]


def test_names_that_are_no_text(batch: Run, fake: str, pictures: Path, tmp_path: Path) -> None:
    name = "not \udcff text.png"
    (pictures / "0.png").rename(pictures / name)
    line = (pictures, tmp_path / "parquet", *FEW, "--url", fake)
    status, out, said = batch(*line, "--format", "parquet")
    assert (status, out) == (2, "") and "expected names of pictures in UTF-8" in said
    assert not (tmp_path / "parquet").exists()
    for kind in ("coco", "png"):
        assert batch(pictures, tmp_path / kind, *FEW, "--format", kind, "--url", fake)[0] == 0
        answers = json.loads((tmp_path / kind / "results" / "000000.json").read_bytes())
        assert name in {answer["image"] for answer in answers}
    with pytest.raises(SettingsError, match="expected names of pictures in UTF-8"):
        store = open_store("s3://bucket/out")
        task = Task("in", None, "png")
        make_plan(store, task, [Picture(name, "/a.png")], [], None, shards=None, lease=60)


def test_reasons_that_are_no_text(batch: Run, fake: str, pictures: Path, tmp_path: Path) -> None:
    """A reason may have the path, of which the name is only the end."""
    folder = pictures.rename(tmp_path / "caf\udce9")
    (folder / "gone.png").symlink_to("nowhere")
    line = (folder, tmp_path / "out", *FEW, "--format", "parquet", "--url", fake)
    assert batch(*line)[0] == 1
    rows = parquet.read_table(tmp_path / "out" / "results").to_pylist()
    (failed,) = [row for row in rows if row["error"]]
    assert failed["image"] == "gone.png" and "caf\\udce9/gone.png" in failed["error"]
