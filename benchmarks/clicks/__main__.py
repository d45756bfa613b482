"""Clicks on pictures that the server keeps, beside clicks that carry their embedding.

    python -m benchmarks.clicks                          # SlimSAM-77's geometry on OpenVINO
    python -m benchmarks.clicks --target onnxruntime
    python -m benchmarks.clicks --check

Both ways are the SDK's, and make the RLE of the best mask: `upload` and then clicks of some hundred
bytes, for which the server resizes and encodes the mask; or `embed` and then clicks with 2 MiB, for
which the client does so, with the same code. Measured are the bytes of each call; one click alone,
by turns with the same work in this process; and users in a closed loop, who know all pictures that
they click on, 90 % of them or none. A click on a picture that is not known makes it known: the SDK
is told so and uploads it, or embeds it.

perf_analyzer has no part in this, because it ends at the first answer that is an error: `make load`
drives each model alone with it. The users are threads of this process, on the server's machine.

`--check` ends with status 1 when a bound is missed: `MOST_BYTES` of a click's request; `OVERHEAD`
of the other way's overhead; `THROUGHPUT` of the other way's clicks per second, where every picture
is known.

Written to benchmarks/results/clicks/<machine>/<checkpoint>.json, or <checkpoint>-<target>.json
where that is not openvino.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.checkpoints import add_model_options, checkpoint
from benchmarks.clicks.bounds import missed_bounds
from benchmarks.clicks.figures import HEADER, Figures, Row, compared, described, make_row
from benchmarks.clicks.latency import click_seconds
from benchmarks.clicks.sizes import message_bytes
from benchmarks.clicks.users import Level, Run, closed_loop, make_known
from benchmarks.clicks.ways import WAYS, Way
from benchmarks.machine import this_machine
from benchmarks.repository import built_repository
from slimsam_server import EmbeddedServer

RESULTS: Final = Path(__file__).parents[1] / "results" / "clicks"
TARGET: Final = "openvino"
"""Unless another is asked for, which is then in the results' name."""
LEVELS: Final = (Level(1, 100), Level(4, 100), Level(16, 100), Level(4, 90), Level(4, 0))
CLICKS: Final = 20
"""Of each side alone, for each round of the users."""


def main() -> int:
    """Measure, print tables, write the file."""
    options = parse()
    # The server would choose large pages for itself; it gets what this process has.
    os.environ.setdefault("GLIBC_TUNABLES", "")
    with (
        built_repository(checkpoint(options.checkpoint), options.target) as repository,
        EmbeddedServer(repository, options.target) as server,
    ):
        url = server.grpc_url
        sizes = message_bytes(url)
        print(*described(sizes), sep="\n", end="\n\n", flush=True)
        latency = click_seconds(url, repository, options.target, CLICKS * options.rounds)
        print(*compared(latency), sep="\n", end="\n\n", flush=True)
        print(HEADER)
        rows = measure(url, options.rounds, options.seconds)
        print(*rows, sep="\n", flush=True)
    figures = Figures(sizes, latency, rows)
    target = "" if options.target == TARGET else f"-{options.target}"
    name = f"{Path(options.checkpoint).name}{target}.json"
    path = options.results / this_machine().file_name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    named = ("checkpoint", "target", "rounds", "seconds")
    asked = {name: getattr(options, name) for name in named}
    path.write_text(json.dumps({**asked, **asdict(figures)}, indent=1) + "\n")
    missed = list(missed_bounds(figures))
    print(*missed, path, sep="\n")
    return 1 if options.check and missed else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.clicks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_model_options(parser, "slimsam-77")
    add("--rounds", type=int, default=3, help="of all levels, by turns; default: %(default)s")
    add("--seconds", type=float, default=5, help="of each level; default: %(default)s")
    add("--check", action="store_true", help="end with status 1 when a bound is missed")
    add("--results", type=Path, default=RESULTS, help="directory of the results")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("expected at least one round, and seconds above 0")
    return options


def measure(url: str, rounds: int, seconds: float) -> list[Row]:
    """Let users click at every level, both ways by turns, in some rounds."""
    known = {way: make_known(url, way) for way in WAYS}
    runs: dict[tuple[Level, Way], list[Run]] = {
        (level, way): [] for level in LEVELS for way in WAYS
    }
    for _ in range(rounds):
        for (level, way), found in runs.items():
            found.append(closed_loop(url, way, known[way], level, seconds))
    return [make_row(way, level, found) for (level, way), found in runs.items()]


if __name__ == "__main__":
    sys.exit(main())
