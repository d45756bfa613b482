"""`benchmarks.overload`: its arithmetic, and a run of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.overload.bounds import missed_bounds
from benchmarks.overload.figures import Capacity, Row, make_row, nearest_rank
from benchmarks.overload.users import Outcomes, Run


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
    assert made.counts and not dataclasses.replace(made, share=0.26).counts


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
        ([row(), row(multiple=10.0, share=0.3)], Capacity(0.04, 20, 22), ["no row counts"]),
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


def test_a_run(run_benchmark: Callable[..., str], tmp_path: Path) -> None:
    run_benchmark(
        "overload", "--kinds", "click", "--multiples", 3, "--seconds", 2, "--results", tmp_path
    )
    (file,) = tmp_path.glob("*/overload.json")
    report = json.loads(file.read_text())
    (only,) = report["rows"]
    assert only["kind"] == "click" and only["failed"] == 0 and only["goodput"] > 0
    assert only["offered"] > report["capacities"]["click"]["bounded"]
    assert file.with_name("overload.png").stat().st_size > 1000
