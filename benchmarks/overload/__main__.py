"""How many users are answered in time when more come than a server can answer.

    python -m benchmarks.overload
    python -m benchmarks.overload --kinds click --multiples 1 10 --check

Users arrive as a Poisson process, at multiples of what the server reaches in a closed loop. They
have timeouts, some lose patience sooner, and a busy server is asked again as the SDK does it. Three
parts: each kind of request alone; clicks beside another kind that takes nine tenths of the server;
and the throughput in a closed loop beside that of the same models with queues that have no end.

The server has the first half of the processors and its users the second, as if they were on another
machine: what users take grows with their number, and a server that shares its processors with them
answers fewer for that alone. A row in which they took more than half of theirs, a quarter of the
machine, does not count. `--check` ends with status 1 when a bound is missed: of the best goodput,
`FLAT` of it at the most users; `UNBOUNDED` of the throughput with endless queues; the 99th
percentile of a click's latency beside others at most `STARVED` times a lone one's median.

Written to benchmarks/results/overload/<machine>/: a JSON file for each kind, with the load of the
machine before the run, and a chart of all kinds that have a file there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from benchmarks.checkpoints import add_model_options, checkpoint
from benchmarks.machine import this_machine
from benchmarks.overload.bounds import missed_bounds
from benchmarks.overload.chart import draw_chart
from benchmarks.overload.figures import HEADER, Capacity, Row, make_row, written
from benchmarks.overload.processors import all_processors, servers_processors
from benchmarks.overload.requests import Kind, make_kinds
from benchmarks.overload.users import closed_loop, lone, open_loop
from benchmarks.repository import built_repository
from benchmarks.resident_memory import peak_mib, reset_peak
from slimsam_server import EmbeddedServer

RESULTS: Final = Path(__file__).parents[1] / "results" / "overload"
KINDS: Final = ("click", "prompts", "segment", "everything")
CLICKS_SHARE: Final = 0.1
"""Of the server's capacity for clicks, what clicks take beside another kind."""
CONCURRENCY: Final = 4
"""Of the closed loops."""
ROUNDS: Final = 3
"""Of the closed loops with and without an end of the queues, by turns; the median counts."""


def main() -> int:
    """Measure, print a table, write the files."""
    options = parse()
    directory = options.results / this_machine().file_name
    load = round(os.getloadavg()[0], 1)
    with ExitStack() as stack:
        source = checkpoint(options.checkpoint)
        repository = stack.enter_context(built_repository(source, options.target))
        endless = stack.enter_context(without_queue_policies(repository))
        stack.enter_context(all_processors())
        with servers_processors() as processors:
            server, other = (
                stack.enter_context(EmbeddedServer(path, options.target, allow_shared_memory=True))
                for path in (repository, endless)
            )
        kinds, same = (
            stack.enter_context(make_kinds(each.grpc_url, options.points_per_side))
            for each in (server, other)
        )
        names = [name for name in KINDS if name in options.kinds or name == "click"]
        capacities = {
            name: capacity((server, other), (kinds[name], same[name]), options) for name in names
        }
        other.stop()
        print(f"\n{HEADER}")
        rows = []
        for row in measure(server, kinds, capacities, options):
            print(row, flush=True)
            rows.append(row)
    directory.mkdir(parents=True, exist_ok=True)
    for kind in options.kinds:
        report = {
            "checkpoint": options.checkpoint,
            "target": options.target,
            "load": load,
            "processors": [len(found) for found in processors],
            "points_per_side": options.points_per_side,
            "capacity": asdict(capacities[kind]),
            "rows": [written(row) for row in rows if kind in row.name.split()],
        }
        (directory / f"{kind}.json").write_text(json.dumps(report, indent=1) + "\n")
    draw_chart(directory)
    missed = list(missed_bounds(capacities, rows))
    print(*missed, sep="\n")
    return 1 if options.check and missed else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.overload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_model_options(parser)
    add("--kinds", nargs="+", default=list(KINDS), choices=KINDS, metavar="KIND")
    add(
        "--multiples", nargs="+", type=float, default=[0.5, 0.9, 1.5, 3, 10],
        help="of the capacity, how many users come; default: %(default)s",
    )  # fmt: skip
    add("--seconds", type=float, default=15, help="of a run, about; default: %(default)s")
    add(
        "--users", type=int, default=40,
        help="a run takes longer until its server's capacity, or half of it in a closed loop, has "
        "room for so many; default: %(default)s",
    )  # fmt: skip
    add("--points-per-side", type=int, default=2, help="of everything mode; default: %(default)s")
    add("--check", action="store_true", help="end with status 1 when a bound is missed")
    add("--results", type=Path, default=RESULTS, help="directory of the results")
    options = parser.parse_args()
    if min(*options.multiples, options.seconds, options.users, options.points_per_side) <= 0:
        parser.error("expected multiples, seconds, users and points per side above 0")
    return options


@contextmanager
def without_queue_policies(repository: Path) -> Iterator[Path]:
    """Copy a repository, and give its queues no end and encoder and decoder one instance."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "model_repository"
        shutil.copytree(repository, directory, symlinks=True)
        for path in (*directory.glob("*/config.pbtxt"), *directory.glob("*/configs/*.pbtxt")):
            config = text_format.Parse(path.read_text(), ModelConfig())
            if config.HasField("dynamic_batching"):
                config.dynamic_batching.Clear()
            if config.name in ("slimsam_encoder", "slimsam_decoder", "slimsam_decoder_bulk"):
                for group in config.instance_group:
                    group.count = 1
            path.write_text(text_format.MessageToString(config))
        yield directory


def capacity(
    servers: tuple[EmbeddedServer, EmbeddedServer],
    kind: tuple[Kind, Kind],
    options: argparse.Namespace,
) -> Capacity:
    """Measure one kind alone, on both servers by turns, and say what was found."""
    name = kind[0].name
    alone = lone(servers[0].grpc_url, kind[0], options.seconds / 3)
    median = alone.outcomes[name].percentile(50)
    lasting = max(options.seconds, options.users * median) / 2
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for server, asked, goodputs in zip(servers, kind, found, strict=True):
            run = closed_loop(server.grpc_url, asked, CONCURRENCY, lasting)
            goodputs.append(run.goodput(name))
    bounded, unbounded = map(statistics.median, found)
    print(
        f"{name}: {median:.3f} s alone, {bounded:.2f}/s in a closed loop of {CONCURRENCY}, "
        f"{unbounded:.2f}/s where queues have no end",
        flush=True,
    )
    return Capacity(median, bounded, unbounded)


def measure(
    server: EmbeddedServer,
    kinds: dict[str, Kind],
    capacities: dict[str, Capacity],
    options: argparse.Namespace,
) -> Iterator[Row]:
    """Let the users come."""

    def run(name: str, multiples: dict[str, float]) -> Iterator[Row]:
        rates = [(kinds[kind], n * capacities[kind].bounded) for kind, n in multiples.items()]
        slowest = min(capacities[kind].bounded for kind in multiples)
        pids = server.processes()
        reset_peak(pids)
        done = open_loop(server.grpc_url, rates, max(options.seconds, options.users / slowest))
        mib = peak_mib(pids)
        for kind, multiple in multiples.items():
            yield make_row(name, multiple, done, done.outcomes[kind], mib)

    for kind in options.kinds:
        for multiple in options.multiples:
            yield from run(kind, {kind: multiple})
    for kind in options.kinds:
        if kind != "click":
            share = {"click": CLICKS_SHARE, kind: 1 - CLICKS_SHARE}
            yield from run(f"clicks and {kind}", share)


if __name__ == "__main__":
    sys.exit(main())
