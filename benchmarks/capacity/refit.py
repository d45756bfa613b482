"""Which crowding and waits would have simulated a run of `check` best, and what they do elsewhere.

    python -m benchmarks.capacity.refit RESULT --by 10

RESULT is a file that `check` has written, with its times beside it. By its levels of so many clicks
a crowding and the clicks' waits are chosen from a grid; by the other levels nothing is, so they
show whether the choice is more than a fit.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.capacity.check import KINDS, THINK
from benchmarks.capacity.sessions import Users, draw_sessions
from benchmarks.capacity.shape import ServerShape, read_shape
from benchmarks.capacity.simulation import Fleet, simulate
from benchmarks.capacity.times import Times, read_times
from benchmarks.repository import REPOSITORY

CROWDING: Final = (1.0, 1.03, 1.06, 1.09)
ONCE: Final = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05)
TWICE: Final = (0.0, 0.02, 0.03, 0.04, 0.05, 0.06)
"""Seconds, as `Request.waits` has them."""
SHOWN: Final = 5
"""Candidates that are printed, the best first: how many are as good as the one that is chosen."""
SIMULATIONS: Final = 3


def main() -> None:
    """Choose, and print how far the simulation is from the server with and without the choice."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.capacity.refit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("--by", type=int, default=10, help="clicks of the levels that choose")
    options = parser.parse_args()
    found = json.loads(options.result.read_text())
    times = read_times(options.result.with_name(f"{options.result.stem}-times.json"))
    shape = read_shape(REPOSITORY, options.result.stem.rpartition("-")[2])
    rows = [row for row in found["rows"] if row["level"]["clicks"] == options.by]
    distances = {
        each: distance(ratios(each, shape, rows, found["seconds"])) for each in candidates(times)
    }
    best = sorted(distances, key=lambda each: distances[each])[:SHOWN]
    chosen = best[0]
    for each in best:
        print(
            f"crowding {each.crowding:g}, waits {each.click.waits} s: "
            f"{distances[each]:.1%} from what was measured, by {options.by} clicks"
        )
    print("simulated over measured, at the 95th percentile, without the first and with it:")
    pair = [ratios(each, shape, found["rows"], found["seconds"]) for each in (times, chosen)]
    for row, without, with_them in zip(found["rows"], *pair, strict=True):
        level = row["level"]
        print(
            f"{level['clicks']:4} clicks at {level['share']:.0%}  {row['kind']:<7}"
            f"{without:6.2f}{with_them:6.2f}"
        )


def candidates(times: Times) -> Iterator[Times]:
    """Make times with each crowding and each pair of waits."""
    for crowding, once, twice in product(CROWDING, ONCE, TWICE):
        if twice >= once:
            yield replace(times, crowding=crowding, click=replace(times.click, waits=(once, twice)))


def distance(found: Sequence[float]) -> float:
    """Give the root mean square of ratios' logarithms: about by how much they are off, from 0."""
    return math.sqrt(statistics.fmean(math.log(ratio) ** 2 for ratio in found))


def ratios(
    times: Times, shape: ServerShape, rows: Sequence[dict[str, Any]], seconds: float
) -> list[float]:
    """Give the simulated 95th percentile over the measured one, for rows of a result.

    As many users come as have sent a picture, at the times at which the first round's came.
    """
    found = []
    for first in range(0, len(rows), len(KINDS)):
        level = rows[first]["level"]
        uploads = max(rows[first][side]["throughput"] for side in ("measured", "simulated"))
        users = Users(uploads, level["clicks"], THINK)
        sessions = draw_sessions(users, seconds, np.random.default_rng(0))
        fleet = Fleet(times, shape)
        outcomes = [simulate(fleet, sessions, seed) for seed in range(SIMULATIONS)]
        for row in rows[first : first + len(KINDS)]:
            simulated = statistics.median(
                outcome.percentile(row["kind"], 95) for outcome in outcomes
            )
            found.append(simulated / row["measured"]["p95"])
    return found


if __name__ == "__main__":
    main()
