"""Pictures that a worker of `slimsam batch` cannot read: one of them, or all."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from batch_runs import bucket, environment
from picture_site import Site, picture_site, reply

from slimsam_client.batch import locations, patient_file
from slimsam_client.batch.claims import FREE
from slimsam_client.batch.local_store import LocalStore
from slimsam_client.batch.locations import read
from slimsam_client.batch.parquet_cells import read_cell
from slimsam_client.batch.parquet_pictures import parquet_pictures
from slimsam_client.batch.pictures import Columns, Picture
from slimsam_client.batch.reading import read_picture
from slimsam_client.batch.retrying import CredentialsError, StorageError, patiently
from slimsam_client.batch.store import open_store
from slimsam_client.batch.tar_pictures import tar_pictures
from slimsam_client.errors import ImageError

NAMES = ["0.png", "2.png", "4.png", "below/1.png", "below/3.png", "below/5.png"]
FEW = ("--points-per-side", 2)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores are asked once."""
    for module in (locations, patient_file):
        monkeypatch.setattr(module, "patiently", partial(patiently, seconds=0))


def assert_nothing_was_done(result: tuple[int, str, str], output: Path) -> None:
    """The worker says why, keeps no shard from others, and has written no result."""
    status, out, said = result
    assert (status, out) == (1, "") and "got none of them on this machine" in said
    assert not (output / "results").exists()
    claims = {path.name for path in (output / "claims").iterdir()}
    taken = {name for name in claims if not name.endswith(FREE)}
    assert taken and claims == taken | {f"{name}{FREE}" for name in taken}


def test_a_machine_without_the_pictures(
    batch: Run, fake: str, pictures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    line = (pictures, output, *FEW, "--shards", 3, "--url", fake)
    assert batch(*line, "--plan")[0] == 0
    elsewhere = pictures.rename(tmp_path / "elsewhere")
    assert_nothing_was_done(batch(*line), output)
    pictures.mkdir()  # as it is where nothing is mounted
    assert_nothing_was_done(batch(*line), output)
    pictures.rmdir()
    elsewhere.rename(pictures)
    status, out, _ = batch(*line, "--json")
    assert status == 0 and json.loads(out)["images"] == 6


def test_a_folder_that_has_gone_is_that_of_its_pictures(
    batch: Run, fake: str, pictures: Path, tmp_path: Path
) -> None:
    """A shard has all of it; the others are there."""
    gone = pictures / "gone"
    gone.mkdir()
    for name in NAMES[:2]:
        shutil.copy(pictures / name, gone / name)
    line = (pictures, tmp_path / "out", *FEW, "--shards", 4, "--url", fake)
    assert batch(*line, "--plan")[0] == 0
    shutil.rmtree(gone)
    status, out, _ = batch(*line, "--json")
    found = json.loads(out)
    assert status == 1 and found["images"] == len(NAMES) + 2
    assert set(found["failed"]) == {f"gone/{name}" for name in NAMES[:2]}


def test_a_machine_without_the_tar(batch: Run, fake: str, pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        for name in NAMES:
            archive.add(pictures / name, name)
    line = (path, tmp_path / "out", *FEW, "--url", fake)
    assert batch(*line, "--plan")[0] == 0
    path.unlink()
    assert_nothing_was_done(batch(*line), tmp_path / "out")


def test_a_store_without_the_pictures(
    batch: Run,
    fake: str,
    pictures: Path,
    tmp_path: Path,
    moto: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is wrong with it: here the objects have gone."""
    for name, value in environment("", f"http://127.0.0.1:{moto}").items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    objects = bucket(moto)
    for name in NAMES:
        objects.put_object(Key=f"{tmp_path.name}/{name}", Body=(pictures / name).read_bytes())
    line = (f"s3://bucket/{tmp_path.name}", tmp_path / "out", *FEW, "--shards", 3, "--url", fake)
    assert batch(*line, "--plan")[0] == 0
    for name in NAMES:
        objects.Object(f"{tmp_path.name}/{name}").delete()
    assert_nothing_was_done(batch(*line), tmp_path / "out")
    for name in NAMES[1:]:
        objects.put_object(Key=f"{tmp_path.name}/{name}", Body=(pictures / name).read_bytes())
    status, out, _ = batch(*line, "--json")
    assert status == 1 and list(json.loads(out)["failed"]) == NAMES[:1]


def test_a_relative_folder_is_that_of_the_plan(
    batch: Run, fake: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("pictures", tmp_path / "out", *FEW, "--url", fake)
    assert batch(*line, "--plan")[0] == 0
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    status, out, _ = batch(*line, "--json")
    assert status == 0 and json.loads(out)["images"] == 6


def test_a_plan_of_relative_paths_goes_on(
    batch: Run, fake: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans had these before they had absolute ones."""
    output = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    line = ("pictures", output, *FEW, "--url", fake)
    assert batch(*line, "--plan")[0] == 0
    (shard,) = (output / "plan").glob("*/000000")
    listed = json.loads(shard.read_bytes())
    for picture in listed:
        picture["place"] = str(Path(picture["place"]).relative_to(tmp_path))
    shard.write_text(json.dumps(listed))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert_nothing_was_done(batch(*line), output)
    monkeypatch.chdir(tmp_path)
    assert batch(*line)[0] == 0


def test_a_picture_that_has_gone_fails_alone(
    batch: Run, fake: str, pictures: Path, tmp_path: Path
) -> None:
    """Even where it is all of a shard."""
    line = (pictures, tmp_path / "out", *FEW, "--shards", 6, "--url", fake)
    assert batch(*line, "--plan")[0] == 0
    (pictures / "0.png").unlink()
    status, out, _ = batch(*line, "--json")
    assert status == 1 and list(json.loads(out)["failed"]) == ["0.png"]


def refuse(site: Site, status: int) -> str:
    site.pages[f"/{status}.png"] = lambda handler: reply(handler, status, b"")
    return f"http://127.0.0.1:{site.port}/{status}.png"


def test_dead_urls_fail_alone(
    batch: Run, fake: str, pictures: Path, tmp_path: Path, impatient: None
) -> None:
    with picture_site() as site:
        url = f"http://127.0.0.1:{site.port}"
        statuses = {403: "Forbidden", 410: "Gone", 429: "Too Many", 500: "Internal Server Error"}
        dead = {refuse(site, status): reason for status, reason in statuses.items()} | {
            f"{url}/none.png": "No such file or directory",
            "http://127.0.0.1:1/nobody.png": "expected an answer, got ClientConnector",
            "http://[nonsense/a.png": "expected a readable file",
            "nul\0.png": "expected a readable file",
        }
        good = [f"{url}/{name}" for name in ("a.png", "b.png")]
        for place in good:
            site.serve(place.removeprefix(url), (pictures / "0.png").read_bytes())
        lines = [good[0], *dead, good[1]]
        (tmp_path / "list.txt").write_text("\n".join(lines))
        options = ("--shards", len(lines), "--url", fake, "--json")
        status, out, said = batch(tmp_path / "list.txt", tmp_path / "out", *FEW, *options)
    assert status == 1, said
    summary = json.loads(out)
    assert summary["images"] == len(lines) and summary["failed"].keys() == dead.keys()
    for place, reason in dead.items():
        assert reason in summary["failed"][place]


def test_urls_of_which_none_can_be_read(
    batch: Run, fake: str, tmp_path: Path, impatient: None
) -> None:
    """It may be this machine that they do not let in."""
    with picture_site() as site:
        (tmp_path / "list.txt").write_text("\n".join([refuse(site, 403), refuse(site, 500)]))
        line = (tmp_path / "list.txt", tmp_path / "out", *FEW, "--shards", 2, "--url", fake)
        assert_nothing_was_done(batch(*line), tmp_path / "out")


def test_what_is_refused_is_asked_for_once() -> None:
    with picture_site() as site:
        with pytest.raises(ImageError, match="got 403 Forbidden"):
            read(refuse(site, 403))
        assert site.paths == ["/403.png"]
        place = refuse(site, 429)
        refusing = site.pages["/429.png"]

        def once(handler: Any) -> None:
            refusing(handler)
            site.serve("/429.png", b"picture")

        site.pages["/429.png"] = once
        assert read(place) == b"picture"
        assert site.paths[1:] == ["/429.png"] * 2


def test_a_place_that_does_not_answer_is_a_picture_s_but_for_the_batch_s_own_store(
    tmp_path: Path, impatient: None
) -> None:
    class Same(LocalStore):
        def holds(self, place: str) -> bool:
            return True

    picture = Picture("a", "http://127.0.0.1:1/a.png")
    with pytest.raises(ImageError, match="expected an answer, got"):
        asyncio.run(read_picture(picture, LocalStore(tmp_path)))
    with pytest.raises(StorageError, match="run the same again"):
        asyncio.run(read_picture(picture, Same(tmp_path)))
    store = open_store("s3://bucket/out")
    assert store.holds("s3://another/a.png") and store.holds("s3a://another/a.png")
    assert not store.holds("https://host/a.png") and not store.holds("/a.png")
    assert not LocalStore(tmp_path).holds("s3://bucket/a.png")


def test_a_machine_without_credentials_ends_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures are not to blame."""
    from botocore.exceptions import NoCredentialsError

    def none(path: str, **span: Any) -> bytes:
        raise NoCredentialsError

    monkeypatch.setattr(locations, "file_system", lambda url: (SimpleNamespace(cat_file=none), url))
    with pytest.raises(CredentialsError, match="check its address, its credentials"):
        asyncio.run(read_picture(Picture("a", "s3://bucket/a.png"), LocalStore(tmp_path)))


def pictures_in_parquet(pictures: Path, path: Path) -> Path:
    rows = [{"image": (pictures / name).read_bytes(), "name": name} for name in NAMES]
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=2, use_dictionary=False)
    return path


def damage(path: Path, group: int, column: int) -> None:
    """Overwrite the header of a column's first page."""
    with parquet.ParquetFile(path) as opened:
        start = opened.metadata.row_group(group).column(column).data_page_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 16)


def test_a_damaged_row_group_fails_alone(
    batch: Run, fake: str, pictures: Path, tmp_path: Path
) -> None:
    path = pictures_in_parquet(pictures, tmp_path / "set.parquet")
    damage(path, group=1, column=0)
    options = ("--name-column", "name", "--shards", 6, "--url", fake)
    status, out, said = batch(path, tmp_path / "out", *FEW, *options, "--json")
    assert status == 1, said
    failed = json.loads(out)["failed"]
    assert list(failed) == NAMES[2:4]
    assert all("expected a Parquet file that is whole" in reason for reason in failed.values())
    damage(path, group=0, column=1)  # it is read for the plan
    status, out, said = batch(path, tmp_path / "other", *FEW, *options)
    assert (status, out) == (2, "") and "expected a Parquet file that is whole" in said
    assert said.count("\n") == 1


def test_a_file_that_is_another_than_that_of_the_plan(pictures: Path, tmp_path: Path) -> None:
    path = str(pictures_in_parquet(pictures, tmp_path / "set.parquet"))
    for group, row, column in ((9, 0, "image"), (0, 9, "image"), (0, 0, "jpg")):
        with pytest.raises(ImageError, match="expected a Parquet file that is whole"):
            read_cell(path, group, row, column)
    assert read_cell(path, 0, 1, "image") == (pictures / "2.png").read_bytes()


class Late(io.BytesIO):
    """A remote file of which every second read ends in the middle."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        found = super().read(size)
        if self.reads % 2:
            self.seek(-len(found) // 2, io.SEEK_CUR)
            raise TimeoutError("late")
        return found


class Never(io.BytesIO):
    """A remote file that cannot be read any more."""

    def read(self, size: int | None = -1) -> bytes:
        raise TimeoutError("late")


def remote(monkeypatch: pytest.MonkeyPatch, kind: type[io.BytesIO], path: Path) -> str:
    """Have a file lie in a store; give its URL."""
    system = SimpleNamespace(open=lambda path, mode: kind(Path(path).read_bytes()))
    monkeypatch.setattr(locations, "file_system", lambda url: (system, url.partition("://")[2]))
    return f"{kind.__name__}://{path}"


def test_remote_files_are_read_on_after_a_failure(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = remote(monkeypatch, Late, pictures_in_parquet(pictures, tmp_path / "set.parquet"))
    listed = parquet_pictures(place, Columns(name="name"), with_prompts=False)
    assert [picture.name for picture in listed] == NAMES
    assert listed[0].read() == (pictures / "0.png").read_bytes()
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(pictures / "0.png", "0.png")
    place = remote(monkeypatch, Late, tmp_path / "set.tar")
    (picture,) = tar_pictures(place, with_prompts=False)
    assert picture.name == "0.png" and picture.span is not None


def test_a_remote_file_that_cannot_be_read_is_not_damaged(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    place = remote(monkeypatch, Never, pictures_in_parquet(pictures, tmp_path / "set.parquet"))
    with pytest.raises(StorageError, match="got TimeoutError: late"):
        read_cell(place, 0, 0, "image")
    place = remote(monkeypatch, Never, tmp_path / "set.parquet")
    with pytest.raises(StorageError, match="got TimeoutError: late"):
        tar_pictures(place, with_prompts=False)
