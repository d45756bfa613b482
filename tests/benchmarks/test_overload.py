"""`benchmarks.overload`: its arithmetic, and a run of it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2 as messages

from benchmarks.overload import bounds, users
from benchmarks.overload.bounds import missed_bounds
from benchmarks.overload.figures import Capacity, Row, make_row, nearest_rank, read_rows
from benchmarks.overload.processors import all_processors, servers_processors
from benchmarks.overload.requests import Kind
from benchmarks.overload.users import PATIENCE, Outcomes, Run, lone
from slimsam_client.testing import FakeServer
from slimsam_client.transport.exchange import Rpc

TRIES = 3


def row(**changes: object) -> Row:
    good = Row("click", "click", 1.0, 20.0, 19.0, 0, 0, 1, 0, 0.1, 0.3, 200.0, 0.1)
    return dataclasses.replace(good, **changes)


def test_a_row_of_users() -> None:
    ends = Counter({"refused": 2, "late": 1, "cancelled": 3, "after the end": 5, "ServerError": 1})
    outcomes = Outcomes("click", 100, [0.1] * 90, ends)
    made = make_row("click", 2.0, Run(10.0, {"click": outcomes}, 0.2), outcomes, 300.0)
    assert (made.offered, made.goodput, made.p50) == (10.0, 9.0, 0.1)
    assert (made.refused, made.late, made.cancelled, made.failed) == (2, 1, 3, 1)
    assert made.p99 == math.inf  # of 94 who waited to the end, four got nothing
    assert made.counts and not dataclasses.replace(made, share=0.51).counts


def test_percentiles_of_what_may_be_infinite() -> None:
    assert nearest_rank([1.0, 2.0, 3.0, math.inf], 0.5) == 2.0
    assert nearest_rank([1.0] * 99 + [math.inf], 0.99) == 1.0
    assert nearest_rank([1.0] * 98 + [math.inf] * 2, 0.99) == math.inf
    assert math.isnan(nearest_rank([], 0.99))


@pytest.mark.parametrize(
    ("rows", "capacity", "missed"),
    [
        ([row(), row(multiple=10.0, goodput=16.0)], Capacity(0.04, 20, 22), []),
        ([row(), row(multiple=10.0, goodput=15.0)], Capacity(0.04, 20, 22), ["expected 80% of"]),
        ([row(), row(multiple=10.0, share=0.6)], Capacity(0.04, 20, 22), ["no row counts"]),
        ([row()], Capacity(0.04, 19, 22), ["expected 90% of"]),
        ([row(failed=1)], Capacity(0.04, 20, 22), ["1 users got an error"]),
        ([row(name="clicks and segment", p99=0.4)], Capacity(0.04, 20, 22), []),
        ([row(name="clicks and segment", p99=0.41)], Capacity(0.04, 20, 22), ["p99 within 0.40"]),
    ],
    ids=["good", "it falls", "uncounted", "slower", "failed", "not starved", "starved"],
)
def test_bounds(rows: list[Row], capacity: Capacity, missed: list[str]) -> None:
    found = list(missed_bounds({"click": capacity}, rows))
    assert len(found) == len(missed)
    assert all(words in said for words, said in zip(missed, found, strict=True))


def test_a_run(
    run_benchmark: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bound that nothing can keep: `--check` says so and ends with status 1."""
    monkeypatch.setattr(bounds, "UNBOUNDED", 1000.0)
    options = ("--kinds", "click", "--multiples", 3, "--seconds", 2, "--results", tmp_path)
    processors = os.sched_getaffinity(0)
    for _ in range(TRIES):  # where the machine stands still, nobody is answered in time
        printed = run_benchmark("overload", *options, "--check", status=1)
        assert "click: expected 100000% of" in printed
        assert os.sched_getaffinity(0) == processors
        (file,) = tmp_path.glob("*/click.json")
        report = json.loads(file.read_text())
        (only,) = report["rows"]
        if only["goodput"] > 0:
            break
    assert only["kind"] == "click" and only["failed"] == 0 and only["goodput"] > 0
    assert only["offered"] > report["capacity"]["bounded"]
    assert [row.goodput for row in read_rows(file)] == [only["goodput"]]
    assert file.with_name("overload.png").stat().st_size > 1000


def test_a_user_alone_whose_request_fails_is_not_asked_to_wait_longer() -> None:
    unknown = messages.ModelInferRequest(model_name="unknown")
    with FakeServer() as server, pytest.raises(SystemExit, match="^click: expected an"):
        lone(server.url, Kind("click", (1.0,), (Rpc("ModelInfer", unknown),)), 0.1)


def test_a_user_alone_is_given_more_time_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    lasted: list[float] = []

    def run(url: str, kind: Kind, concurrency: int, seconds: float) -> Run:
        lasted.append(seconds)
        answered = [1.0] if seconds == enough else []
        ends = Counter({"after the end": 1})
        return Run(seconds, {"click": Outcomes("click", 1, answered, ends)}, 0.1)

    monkeypatch.setattr(users, "closed_loop", run)
    kind = Kind("click", (1.0,), ())
    enough = 80.0
    assert lone("unused", kind, 5.0).seconds == 80.0
    enough = math.inf
    with pytest.raises(SystemExit, match=f"within {PATIENCE:g} s, got {{'after the end': 1}}"):
        lone("unused", kind, 5.0)
    assert lasted == [5.0, 20.0, 80.0] + [5.0, 20.0, 80.0, 320.0, PATIENCE]


def test_servers_and_users_have_processors_of_their_own() -> None:
    script = "import os; print(*sorted(os.sched_getaffinity(0)))"
    before = os.sched_getaffinity(0)
    stay = threading.Event()
    other = threading.Thread(target=stay.wait, daemon=True)
    other.start()
    try:
        assert other.native_id is not None
        with all_processors():
            with servers_processors() as (servers, users):
                started = subprocess.check_output([sys.executable, "-c", script])
            assert set(map(int, started.split())) == servers
            assert os.sched_getaffinity(0) == os.sched_getaffinity(other.native_id) == users
    finally:
        stay.set()
    assert servers | users == before == os.sched_getaffinity(0)
    assert len(before) == 1 or not servers & users
