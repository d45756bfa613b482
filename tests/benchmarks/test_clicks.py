"""`benchmarks.clicks`: its bounds, and a run of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.clicks import __main__ as clicks
from benchmarks.clicks.bounds import missed_bounds
from benchmarks.clicks.figures import Figures, Row, make_row
from benchmarks.clicks.users import Level, Run
from benchmarks.clicks.ways import KEPT
from benchmarks.scene_pictures import new_picture

SIZES = {"upload": (100_000, 150), "click": (250, 2000)}
LATENCY = {"in process": 0.040, "kept": 0.045, "embedding": 0.055}
ROW = Row("kept", 4, 100, 100, 0, 20.0, 0.2, 0.3)


def figures(rate: float = 20.0, hits: int = 100, **changes: object) -> Figures:
    kept = dataclasses.replace(ROW, rate=rate, hits=hits)
    other = dataclasses.replace(ROW, way="embedding", hits=hits)
    return dataclasses.replace(Figures(SIZES, LATENCY, [kept, other]), **changes)


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (figures(), []),
        (figures(sizes={"click": (1000, 2000)}), []),
        (figures(sizes={"click": (1001, 2000)}), ["at most 1,000 bytes, got 1,001"]),
        (figures(latency=LATENCY | {"kept": 0.048}), ["50% of the 15.0 ms", "got 8.0 ms"]),
        (figures(rate=19.1), []),
        (figures(rate=18.9), ["4 users: expected 95% of 20.00 clicks per second, got 18.90"]),
        (figures(rate=1.0, hits=90), []),
    ],
    ids=["good", "large", "too large", "slow", "at the bound", "fewer", "misses are not bounded"],
)
def test_bounds(found: Figures, missed: list[str]) -> None:
    said = list(missed_bounds(found))
    assert len(said) == bool(missed)
    assert all(words in said[0] for words in missed)


def test_a_row_of_rounds() -> None:
    runs = [Run(20.0, [0.1] * 9 + [0.9], 1), Run(10.0, [0.1] * 10, 0), Run(30.0, [0.1] * 10, 0)]
    row = make_row(KEPT, Level(4, 90), runs)
    assert (row.way, row.users, row.hits, row.clicks, row.misses) == ("kept", 4, 90, 30, 1)
    assert (row.rate, row.p50) == (20.0, 0.1) and row.p99 > 0.1


def test_no_new_picture_comes_twice() -> None:
    assert len({new_picture() for _ in range(3)}) == 3


def test_a_run(
    run_benchmark: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = (Level(1, 100), Level(2, 50), Level(2, 0))
    monkeypatch.setattr(clicks, "LEVELS", levels)
    monkeypatch.setattr(clicks, "CLICKS", 2)
    text = run_benchmark(
        "clicks", "--checkpoint", "demo", "--rounds", 1, "--seconds", 0.2, "--results", tmp_path
    )
    (path,) = tmp_path.glob("*/demo.json")
    assert text.splitlines()[-1] == str(path)
    report = json.loads(path.read_text())
    sent, received = report["sizes"]["click"]
    assert sent <= 1000 and received < 2**15
    assert report["sizes"]["predict"][0] > 256 * 64 * 64 * 2
    assert [*report["latency"]] == ["in process", "kept", "embedding"]
    assert min(report["latency"].values()) > 0
    rows = [Row(**row) for row in report["rows"]]
    assert [(row.users, row.hits, row.way) for row in rows] == [
        (level.users, level.hits, way) for level in levels for way in ("kept", "embedding")
    ]
    for row in rows:
        assert row.clicks >= row.users and row.rate > 0
        if row.hits in (0, 100):
            assert row.misses == (0 if row.hits else row.clicks)
        else:
            assert 0 < row.misses < row.clicks
