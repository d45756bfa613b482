"""Workers beside each other: who has which shard, and what happens when one is gone."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from batch_runs import Workers, environment

from slimsam_client.batch import claims
from slimsam_client.batch.claims import Claim, Claims
from slimsam_client.batch.local_files import PART_SUFFIX
from slimsam_client.batch.local_store import LocalStore
from slimsam_client.batch.pace import Pace
from slimsam_client.batch.plan import read_plan
from slimsam_client.batch.store import Store, open_store
from slimsam_client.cli import batch as batch_command
from slimsam_client.contract import AUTOMATIC, INFO
from slimsam_client.errors import SettingsError
from slimsam_client.testing import FakeServer

FEW = ("--points-per-side", 2)
NOWHERE = ("--url", "127.0.0.1:1")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of each kind."""
    if request.param == "folder":
        return open_store(str(tmp_path / "out"))
    port = request.getfixturevalue("moto")
    for name, value in environment("", f"http://127.0.0.1:{port}").items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return open_store(f"s3://bucket/{tmp_path.name}")


def test_one_of_many_creates_a_file(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            key = f"folder/{number}"
            gate = threading.Barrier(8)

            def create(name: int, key: str = key, gate: threading.Barrier = gate) -> bool:
                gate.wait(60)
                return store.create(key, b"%d" % name * 1000)

            created = list(pool.map(create, range(8)))
            assert created.count(True) == 1
            assert store.read(key) == b"%d" % created.index(True) * 1000
    assert sorted(store.versions("folder")) == [f"folder/{number}" for number in range(5)]


def test_files_are_replaced_and_listed_with_a_version(store: Store) -> None:
    assert store.versions("folder") == {}
    with pytest.raises(FileNotFoundError):
        store.read("folder/a")
    store.replace("folder/a", b"1")
    store.replace("folderly", b"1")
    (first,) = store.versions("folder").values()
    store.replace("folder/a", b"2")
    assert store.read("folder/a") == b"2"
    assert store.versions("folder").keys() == {"folder/a"}
    assert store.versions("folder")["folder/a"] != first
    with store.writing("large") as file:
        file.write(b"3" * 10)
    assert store.read("large") == b"3" * 10
    with pytest.raises(RuntimeError), store.writing("half") as file:
        file.write(b"4")
        raise RuntimeError
    with pytest.raises(FileNotFoundError):
        store.read("half")


def test_what_killed_workers_leave_is_removed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    part = tmp_path / "results" / f".0{PART_SUFFIX}"
    part.parent.mkdir()
    part.write_bytes(b"half")
    assert store.versions("results") == {}
    store.tidy()
    assert not part.exists()


def test_of_two_workers_that_end_a_batch_one_tidies_up_first(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with store.writing("annotations") as file:
        file.write(b"whole")
        store.replace("annotations", b"whole")
        store.tidy()
    assert store.read("annotations") == b"whole"
    with pytest.raises(FileNotFoundError), store.writing("lost"):
        store.tidy()


@pytest.mark.parametrize(
    ("place", "message"),
    [("ftp://host/a", "expected a folder or an s3:// URL"), (__file__, "got a file")],
)
def test_places_that_are_no_store(place: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        open_store(place)


class Clock:
    """What `Claims` takes for the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(claims, "time", found)
    return found


def test_a_claim_is_one_worker_s_as_long_as_it_gives_signs(store: Store, clock: Clock) -> None:
    one, other = Claims(store, "one", 10), Claims(store, "other", 10)
    one.look()
    other.look()
    claim = one.take(3)
    assert claim == Claim(3, 0)
    assert other.take(3) is None and other.take(4) == Claim(4, 0)
    for _ in range(5):  # it is watched for longer than a lease, and gives signs
        other.look()
        clock.now += 6
        assert one.beat(claim)
        other.look()
        assert other.take(3) is None
    clock.now += 9
    other.look()
    assert other.take(3) is None
    clock.now += 2  # no sign for longer than a lease, by the clock of who waits
    other.look()
    taken = other.take(3)
    assert taken == Claim(3, 1)
    assert not one.beat(claim), "the first worker, which was only stopped, has lost it"
    assert other.beat(taken)
    one.look()
    assert one.take(3) is None
    other.give_up(taken)
    one.look()
    assert one.take(3) == Claim(3, 2)  # at once


def test_who_has_not_looked_since_takes_no_claim_away(store: Store, clock: Clock) -> None:
    """As one that had a shard of its own, or stood still."""
    one, other = Claims(store, "one", 10), Claims(store, "other", 10)
    claim = one.take(0)
    assert claim is not None
    other.look()
    clock.now += 60
    assert one.beat(claim)
    assert other.take(0) is None
    other.look()
    assert other.take(0) is None


def test_a_store_whose_answer_was_lost_has_the_claim(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt was done, and the second one finds what it wrote."""
    create = store.create

    def twice(key: str, content: bytes) -> bool:
        create(key, content)
        return create(key, content)

    mine, others = Claims(store, "mine", 10), Claims(store, "others", 10)
    monkeypatch.setattr(store, "create", twice)
    assert mine.take(0) == Claim(0, 0)
    assert others.take(0) is None


def test_the_pace() -> None:
    pace = Pace(1000)
    assert str(pace) == "0 of 1000 images, 0.0 a second"
    pace.note(0, now=0)
    pace.note(50, now=10)
    assert str(pace) == "50 of 1000 images, 5.0 a second, 0:03:10 left"
    for minute in range(1, 60):
        pace.note(50 + minute, now=10 + 60 * minute)
    assert pace.per_second == pytest.approx(1 / 60)  # the last minutes count


def answers_of(output: Path) -> list[dict[str, Any]]:
    return [
        answer
        for path in sorted((output / "results").iterdir())
        for answer in json.loads(path.read_bytes())
    ]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_workers_share_the_shards(batch: Run, pictures: Path, tmp_path: Path) -> None:
    with FakeServer() as server:
        assert batch(pictures, tmp_path / "single", *FEW, "--url", server.url)[0] == 0
        before = len(server.requests)
        arguments = [pictures, tmp_path / "out", *FEW, "--shards", 6]
        workers = Workers(arguments, environment(server.url), tmp_path)
        for _ in range(3):
            workers.start()
        assert workers.join() == [0, 0, 0]
        asked = [request.model for request in server.requests[before:]]
    assert asked.count(AUTOMATIC.name) == 6  # each picture once
    assert answers_of(tmp_path / "out") == answers_of(tmp_path / "single")
    assert (tmp_path / "out" / "annotations.json").read_bytes() == (
        tmp_path / "single" / "annotations.json"
    ).read_bytes()
    assert not list((tmp_path / "out").rglob(f"*{PART_SUFFIX}"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_ended(number: signal.Signals, pictures: Path, tmp_path: Path) -> None:
    """Killed, its shard is taken over after the lease; asked to end, it gives it up."""
    output = tmp_path / "out"
    lease = 2 if number == signal.SIGKILL else 10_000
    with FakeServer() as server:
        server.delay(AUTOMATIC.name, 60)
        arguments = [pictures, output, *FEW, "--shards", 2, "--lease", lease]
        workers = Workers(arguments, environment(server.url), tmp_path)
        ended = workers.start()
        wait_until(lambda: AUTOMATIC.name in [request.model for request in server.requests])
        other = workers.start()
        ended.send_signal(number)
        assert workers.join() == [-9 if number == signal.SIGKILL else 130, 0], workers.said(other)
    if number == signal.SIGTERM:
        assert "ended; others go on" in workers.said(ended)
    assert len(answers_of(output)) == 6
    assert len(list((output / "claims").glob("*-0001"))) == 1


def test_a_worker_that_was_stopped_loses_its_shard(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with FakeServer() as server:
        server.delay(AUTOMATIC.name, 10)
        arguments = [pictures, output, *FEW, "--shards", 1, "--lease", 1]
        workers = Workers(arguments, environment(server.url), tmp_path)
        stopped = workers.start()
        wait_until(lambda: AUTOMATIC.name in [request.model for request in server.requests])
        stopped.send_signal(signal.SIGSTOP)
        assert workers.start().wait(120) == 0
        result = (output / "results" / "000000.json").read_bytes()
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(120) == 0
    assert (output / "results" / "000000.json").read_bytes() == result


def test_without_waiting(batch: Run, fake: str, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    line = (pictures, output, *FEW, "--shards", 2, "--url", fake)
    assert batch(*line, "--plan")[:2] == (0, "6 images in 2 shards\n")
    store = open_store(str(output))
    assert Claims(store, "somebody", 60).take(1) is not None
    status, out, _ = batch(*line, "--no-wait", "--json")
    assert (status, json.loads(out)) == (0, {"left": 1})
    assert not (output / "summary.json").exists()


def test_a_server_that_is_not_there(batch: Run, pictures: Path, tmp_path: Path) -> None:
    status, out, said = batch(pictures, tmp_path / "out", *FEW, *NOWHERE)
    assert (status, out) == (1, "") and said.count("nothing answers") == 1
    assert not (tmp_path / "out").exists()


def miss_the_plan_once(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Have a worker look for the plan before it is there; what is given is empty afterwards."""
    before = [None]

    def read(*arguments: Any) -> Any:
        return before.pop() if before else read_plan(*arguments)

    monkeypatch.setattr(batch_command, "read_plan", read)
    return before


def test_a_server_that_goes_away_after_another_has_made_the_plan(
    batch: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has looked for the plan before it was there looks once more."""
    output = tmp_path / "out"
    with FakeServer() as server:
        line = (pictures, output, *FEW, "--shards", 2, "--url", server.url, "--plan")
        assert batch(*line)[0] == 0
    before = miss_the_plan_once(monkeypatch)
    assert batch(*line)[:2] == (0, "6 images in 2 shards\n")
    assert not before


def test_a_server_that_refuses_the_worker_ends_it(
    batch: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may not go on with another worker's plan as if the server were away."""
    output = tmp_path / "out"
    with FakeServer() as server:
        line = (pictures, output, *FEW, "--shards", 2, "--url", server.url, "--plan")
        assert batch(*line)[0] == 0
        miss_the_plan_once(monkeypatch)
        server.fail(INFO.name, grpc.StatusCode.PERMISSION_DENIED, "no batches for you")
        status, out, said = batch(*line)
    assert (status, out) == (1, "") and "no batches for you" in said


def test_a_server_that_stays_away_ends_the_worker(
    batch: Run, pictures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with FakeServer() as server:
        options = ("--url", server.url, "--patience", "0.1", "--timeout", "1")
        assert batch(pictures, output, *FEW, *options, "--plan")[0] == 0
    status, out, said = batch(pictures, output, *FEW, *options)
    assert (status, out) == (1, "") and "nothing answers" in said
    assert not (output / "results").exists()


def test_a_picture_that_the_server_fails_at_is_listed(
    batch: Run, pictures: Path, tmp_path: Path
) -> None:
    with FakeServer() as server:
        line = (pictures, tmp_path / "out", *FEW, "--url", server.url, "--concurrency", 1)
        server.fail(AUTOMATIC.name, grpc.StatusCode.INTERNAL, "out of memory", times=3)
        status, out, said = batch(*line)
    assert status == 1 and out.startswith("5 images, ") and "1 failed" in out
    assert said.splitlines()[-1].startswith("slimsam: failed: 0.png: ") and "out of memory" in said


def test_a_server_that_fails_for_a_moment(batch: Run, pictures: Path, tmp_path: Path) -> None:
    with FakeServer() as server:
        server.fail(AUTOMATIC.name, grpc.StatusCode.INTERNAL, "out of memory", times=2)
        line = (pictures, tmp_path / "out", *FEW, "--url", server.url, "--concurrency", 1)
        assert batch(*line)[0] == 0


def test_another_checkpoint_ends_the_batch(batch: Run, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with FakeServer() as server:
        line = (pictures, output, *FEW, "--url", server.url)
        assert batch(*line, "--plan")[0] == 0
        server.digest = "another"
        status, _, said = batch(*line)
        assert status == 2 and "expected the checkpoint that the batch was begun with" in said
        assert not (output / "results").exists()


def test_a_server_without_information(batch: Run, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(
        json.dumps([{"image_id": 0, "category_id": 1, "bbox": [1, 1, 20, 20]}])
    )
    with FakeServer() as server:
        server.unready.add(INFO.name)
        line = (pictures, tmp_path / "out", "--prompts", tmp_path / "boxes.json")
        line = (*line, "--url", server.url)
        status, _, said = batch(*line, "--embeddings", tmp_path / "kept")
        assert status == 2 and "expected a server that says which checkpoint it has" in said
        assert batch(*line)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{tmp}/none", "{tmp}/out"), "none: expected a folder, found none"),
        (("{tmp}/empty", "{tmp}/out"), "empty: expected pictures (.avif"),
        (("{pictures}", "{pictures}"), "expected results in another folder"),
        (("{pictures}", __file__), "expected a folder to write to, got a file"),
        (("{pictures}", "gs://bucket/a"), "expected a folder or an s3:// URL to write to, got gs"),
        (("{pictures}", "{tmp}/out", "--embeddings", "{tmp}/e"), "expected --prompts with"),
        (("{pictures}", "{tmp}/out", "--prompts", "{tmp}/n.json"), "n.json: expected a readable"),
        (("{pictures}", "{tmp}/out", "--prompts", "{tmp}/bad.json"), "expected COCO's annotations"),
        (("{pictures}", "{tmp}/out", "--prompts", "{tmp}/empty"), "expected prompts of the pict"),
        (("{pictures}", "{tmp}/out", "--prompts", "{tmp}/labels"), "0.txt, line 1: expected class"),
        (("{pictures}", "{tmp}/out", "--prompts", "beside"), "expected prompts of the pictures"),
        (("{tmp}/bad.tar", "{tmp}/out"), "expected a tar that is not compressed"),
        (("{tmp}/bad.parquet", "{tmp}/out"), "expected a Parquet file"),
        (("{tmp}/up.txt", "{tmp}/out", "--format", "png"), "expected names of pictures below"),
        (("{tmp}/twice.txt", "{tmp}/out"), "expected pictures of different names"),
        (("{pictures}", "{tmp}/out", "--format", "yolo"), "invalid choice: 'yolo'"),
        (("{pictures}", "{tmp}/out", "--shards", "0"), "expected a whole number above 0"),
        (("{pictures}", "{tmp}/out", "--points-per-side", "0"), "points_per_side: expected"),
    ],
)
def test_mistakes(
    batch: Run, fake: str, pictures: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("1 0.5 0.5 nan 0.1\n")
    (tmp_path / "bad.json").write_text('{"images": []}')
    for name in ("bad.tar", "bad.parquet"):
        (tmp_path / name).write_bytes(b"x" * 2000)
    (tmp_path / "up.txt").write_text("../a.png\n")
    (tmp_path / "twice.txt").write_text("pictures/0.png\npictures/0.png\n")
    given = [text.format(tmp=tmp_path, pictures=pictures) for text in arguments]
    status, out, said = batch(*given, "--url", fake)
    assert (status, out) == (2, "")
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "out" / "plan.json").exists()


def test_another_batch_in_the_folder(batch: Run, fake: str, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert batch(pictures, output, *FEW, "--url", fake)[0] == 0
    status, _, said = batch(pictures, output, "--points-per-side", 3, "--url", fake)
    assert status == 2 and "got one of another settings; give another folder" in said
    (output / "plan.json").write_text("{}")
    status, _, said = batch(pictures, output, *FEW, "--url", fake)
    assert status == 2 and "plan.json: expected the plan of a batch" in said


def test_bad_pictures_are_listed_with_their_reason(
    batch: Run, fake: str, pictures: Path, tmp_path: Path
) -> None:
    whole = (pictures / "0.png").read_bytes()
    (pictures / "half.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "none.jpg").write_text("no picture")
    (pictures / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(pictures / "pipe.png")  # nobody writes to it
    (tmp_path / "boxes.json").write_text(
        json.dumps(
            [
                {"image_id": number, "category_id": 1, "bbox": box}
                # Out of the picture by a part, which is clipped, and altogether.
                for number, box in ((0, [-20, -5, 40, 400]), (2, [500, 500, 10, 10]))
            ]
        )
    )
    line = (pictures, tmp_path / "out", "--prompts", tmp_path / "boxes.json", "--url", fake)
    status, out, said = batch(*line, "--json")
    assert status == 1
    failed = json.loads(out)["failed"]
    assert list(failed) == ["2.png", "gone.png", "half.png", "none.jpg"]
    assert "box 0: expected (x, y) within 0..60 and 0..42" in failed["2.png"]
    assert "expected a readable file" in failed["gone.png"]
    assert "expected a whole image" in failed["half.png"]
    assert said.count("slimsam: failed: ") == 4
    found = {answer["image"]: answer for answer in answers_of(tmp_path / "out")}
    assert len(found) == 9 and len(found["0.png"]["masks"]) == 1
