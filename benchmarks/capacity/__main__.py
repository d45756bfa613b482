"""How many servers so many users need, and whether the simulation behind it is right.

    python -m benchmarks.capacity plan --times TIMES --clicks-per-second 200 --pictures-per-day 1e6
    python -m benchmarks.capacity check

`plan` turns measured times of lone requests into servers, memory and cost, and simulates the fleet,
with one server lost, too. TIMES is what `check` has written, a file of one's own, or a directory of
`make load`. `check` measures a server of its own on this machine under users who send pictures and
click on them, and holds the simulation of the same users against it: throughput and the 95th
percentile of latency. docs/capacity.md says what both assume.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.capacity.check import HEADER, Level, Run, compare, rows
from benchmarks.capacity.metrics import metric_series
from benchmarks.capacity.plan import add_plan_options, print_plan
from benchmarks.capacity.shape import read_shape
from benchmarks.capacity.times import Times, TimesError, write_times
from benchmarks.checkpoints import add_model_options, checkpoint
from benchmarks.machine import this_machine, versions
from benchmarks.repository import built_repository
from slimsam_build.errors import BuildError
from slimsam_client import SlimSamError
from slimsam_server import EmbeddedServer, ServerError

RESULTS: Final = Path(__file__).parents[1] / "results" / "capacity"


def main() -> int:
    """Do what the first argument says."""
    options = parse()
    try:
        return int(options.run(options))
    except (TimesError, BuildError, ServerError, SlimSamError) as error:
        print(error, file=sys.stderr)
        return 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    plan = commands.add_parser("plan", help="servers, memory and cost for so many users")
    add_plan_options(plan)
    plan.set_defaults(run=print_plan)
    check = commands.add_parser("check", help="the simulation beside a real server")
    add = check.add_argument
    add_model_options(check)
    add(
        "--clicks", type=int, nargs="+", default=[10, 2],
        help="of each user, for each mix; default: %(default)s",
    )  # fmt: skip
    add(
        "--shares", type=float, nargs="+", default=[0.4, 0.6, 0.8],
        help="of the machine, what users ask of it; default: %(default)s",
    )  # fmt: skip
    add("--seconds", type=float, default=60, help="for which users come; default: %(default)s")
    add("--rounds", type=int, default=3, help="of all of them; default: %(default)s")
    add("--requests", type=int, default=20, help="lone ones before each run; default: %(default)s")
    add(
        "--patience", type=float, default=0,
        help="seconds to wait for a quiet machine, and to repeat runs; default: %(default)s",
    )  # fmt: skip
    add(
        "--strict", action="store_true",
        help="end with status 1 when a bound is missed, or no row counts",
    )  # fmt: skip
    add("--results", type=Path, default=RESULTS, help="directory of the results")
    check.set_defaults(run=run_check)
    options = parser.parse_args()
    if options.run is run_check:
        least = min(options.seconds, options.rounds, options.requests, *options.clicks)
        if least <= 0 or not all(0 < share < 1 for share in options.shares):
            check.error("expected shares between 0 and 1, and all else above 0")
    return options


def run_check(options: argparse.Namespace) -> int:
    """Measure, print a table, write the files."""
    levels = [Level(clicks, share) for clicks in options.clicks for share in options.shares]
    print(f"load of the machine: {os.getloadavg()[0]:.2f}", flush=True)
    found: list[tuple[Times, Run]] = []
    with (
        built_repository(checkpoint(options.checkpoint), options.target) as repository,
        EmbeddedServer(repository, options.target) as server,
    ):
        shape = read_shape(repository, options.target)
        for times, run in compare(
            server, shape, levels, options.rounds, options.seconds, options.requests,
            options.patience,
        ):  # fmt: skip
            found.append((times, run))
            print(
                f"{run.level.clicks} clicks at {run.level.share:.0%}: alone an upload "
                f"{times.upload.seconds:.3f} s, a click {times.click.seconds:.3f} s; crowding "
                f"{times.crowding:.2f}, a click's weight {times.click.weight:.2f}; others took "
                f"{run.others:.0%}, load {run.load:.2f}",
                flush=True,
            )
            # After each run, or hours of waiting for a quiet machine are lost with the last one.
            path = write_results(found, metric_series(server), options)
    table = rows([run for _, run in found])
    print(HEADER, *table, path, sep="\n")
    missed = [said for row in table if row.counts for said in row.missed()]
    if not any(row.counts for row in table):
        missed = ["expected a row that counts, got none: others took too much of the machine"]
    print(*missed, sep="\n")
    return 1 if options.strict and missed else 0


def write_results(runs: list[tuple[Times, Run]], series: int, options: argparse.Namespace) -> Path:
    """Write the figures, and the lone requests of the run in which others took the least.

    What requests cost each other differs from run to run: it is the median of those that count.
    """
    machine = this_machine()
    name = f"{Path(options.checkpoint).name}-{options.target}"
    directory: Path = options.results / machine.file_name
    directory.mkdir(parents=True, exist_ok=True)
    times, _ = min(runs, key=lambda pair: pair[1].others)
    several = [found for found, run in runs if run.counts] or [found for found, _ in runs]
    times = replace(
        times,
        name=f"{name} on {machine.processor}, {machine.cores} cores",
        click=replace(times.click, weight=median(one.click.weight for one in several)),
        crowding=median(one.crowding for one in several),
    )
    write_times(times, directory / f"{name}-times.json")
    content = {
        "machine": asdict(machine),
        "versions": versions(),
        "seconds": options.seconds,
        "metric_series": series,
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows([run for _, run in runs])],
        "runs": [asdict(run) for _, run in runs],
    }
    path = directory / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
