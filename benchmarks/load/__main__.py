"""Drives a server with NVIDIA's perf_analyzer: `make load`, or `make load URL=host:8001`.

The workloads: the encoder; the decoder, which is what a click costs a client that has the picture's
embedding; the ensemble, a click on a picture that the server has never seen; a click on a picture
that the server keeps (a warm one), and uploads of pictures of which it keeps none (before a cold
one), 90 % or all; everything mode on the server. Each in a closed loop of some concurrencies first,
and then in an open loop at shares of the throughput that the closed one has reached, which is what
users do who do not wait for each other. No request is sent twice, but uploads of pictures that are
kept.

Written to benchmarks/results/load/<machine>/<checkpoint>/, or <checkpoint>-<target>/ where that is
not openvino, for each workload: perf_analyzer's CSV of every run; all figures as JSON; a chart of
latency by throughput and of where the time goes.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonclient.utils import InferenceServerException

from benchmarks.checkpoints import add_model_options, checkpoint
from benchmarks.load.chart import draw_chart
from benchmarks.load.corpus import Corpus
from benchmarks.load.perf_analyzer import LoadError
from benchmarks.load.point import MODELS, Level, Point, measure
from benchmarks.load.table import HEADER, row, write_json
from benchmarks.machine import this_machine
from benchmarks.repository import built_repository
from slimsam_build.errors import BuildError
from slimsam_client import GenerateSettings, SlimSamError
from slimsam_server import EmbeddedServer, ServerError

RESULTS = Path(__file__).parents[1] / "results" / "load"
TARGET = "openvino"
"""Unless another is asked for, which is then in the name of the directory of results."""
FIRST_REQUESTS = 3
"""Before anything is measured, to see how many requests fit into a run."""
LEAST_RATE = 0.05
"""Requests per second that any server answers, 1024 points of everything mode on a CPU too."""
LEAST_REQUESTS = 4
"""Of a run of a closed loop, for each that is under way at once."""
LEAST_ARRIVALS = 8
"""Of a run of an open loop: fewer are no Poisson process."""


def main() -> int:
    """Measure, print a table, write the files."""
    options = parse()
    directory = options.results / results_name(options)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with server(options) as url:
            corpus = Corpus(url, GenerateSettings(options.points_per_side), options.seed)
            print(HEADER)
            for workload in options.workloads:
                for old in directory.glob(f"{workload}[-.]*"):
                    old.unlink()
                points = []
                for point in sweep(url, corpus, workload, directory, options):
                    points.append(point)
                    print(row(point), flush=True)
                write_json(directory / f"{workload}.json", points, options)
                draw_chart(directory / f"{workload}.png", points)
    except (LoadError, BuildError, ServerError, SlimSamError, InferenceServerException) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{directory}: of each workload a .json, a .png, and a .csv for each line above")
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--url", help="host:port of a server; without it, one is started with --checkpoint")
    add_model_options(parser)
    add("--workloads", nargs="+", default=list(MODELS), choices=MODELS, metavar="WORKLOAD")
    add("--concurrency", type=int, nargs="+", default=[1, 2, 4], help="default: %(default)s")
    add(
        "--shares", type=float, nargs="*", default=[0.5, 0.7, 0.9, 1.1],
        help="of the closed loop's best throughput, for the open one; default: %(default)s",
    )  # fmt: skip
    add("--seconds", type=float, default=12, help="of a run, about; default: %(default)s")
    add(
        "--most-requests", type=int, default=96,
        help="of a run: perf_analyzer holds all of them, 3 to 7 MB each; default: %(default)s",
    )  # fmt: skip
    add(
        "--points-per-side", type=int, default=8,
        help="of everything mode's grid; SAM's own is 32; default: %(default)s",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="of pictures and prompts; default: %(default)s")
    add("--results", type=Path, default=RESULTS, help="directory of the results")
    options = parser.parse_args()
    if min(options.concurrency) < 1 or options.most_requests < max(options.concurrency):
        parser.error("expected 1 <= concurrency <= most-requests")
    if options.shares and min(options.shares) <= 0 or options.seconds <= 0:
        parser.error("expected shares and seconds above 0")
    return options


def results_name(options: argparse.Namespace) -> str:
    """A directory for the results: another host's, or this machine's and what was served."""
    if options.url:
        return re.sub(r"[^a-z0-9.]+", "-", options.url.lower())
    target = "" if options.target == TARGET else f"-{options.target}"
    return f"{this_machine().file_name}/{Path(options.checkpoint).name}{target}"


@contextmanager
def server(options: argparse.Namespace) -> Iterator[str]:
    """Give the url of the server to drive: the user's, or one that ends with the context."""
    if options.url:
        yield options.url
        return
    with (
        built_repository(checkpoint(options.checkpoint), options.target) as repository,
        EmbeddedServer(repository, options.target) as embedded,
    ):
        yield embedded.grpc_url


def sweep(
    url: str, corpus: Corpus, workload: str, directory: Path, options: argparse.Namespace
) -> Iterator[Point]:
    """Measure a workload at every level."""

    def requests(rate: float, least: int) -> int:
        fitting: int = max(round(options.seconds * rate), least)
        return min(fitting, int(options.most_requests))

    with tempfile.TemporaryDirectory() as scratch:  # its CSV is of no interest
        first = Level("closed", 1, "first")
        rate = measure(
            url, corpus, workload, first, FIRST_REQUESTS, Path(scratch), LEAST_RATE
        ).throughput
    for concurrency in options.concurrency:
        level = Level("closed", concurrency, str(concurrency))
        count = requests(rate, LEAST_REQUESTS * concurrency)
        point = measure(url, corpus, workload, level, count, directory, rate)
        rate = max(rate, point.throughput)
        yield point
    for share in options.shares:
        level = Level("open", share * rate, f"{100 * share:.0f}")
        count = requests(level.value, LEAST_ARRIVALS)
        yield measure(url, corpus, workload, level, count, directory, level.value)


if __name__ == "__main__":
    sys.exit(main())
