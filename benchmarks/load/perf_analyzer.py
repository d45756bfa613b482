"""NVIDIA's perf_analyzer: one run of it, and what its CSV says.

https://github.com/triton-inference-server/perf_analyzer/blob/main/docs/cli.md
"""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

DIRECTORY: Final = Path(__file__).parents[2] / ".load" / "bin"
"""Where `make .load/ready` puts it, beside the libraries that it wants."""
PERCENTILES: Final = (50, 90, 95, 99)


class LoadError(Exception):
    """A load test that did not measure what it was asked for; nothing is reported in its place."""


@dataclass(frozen=True)
class Latency:
    """Of the answers of one run, as the client sees them, in milliseconds.

    Attributes:
        mean: of all.
        percentiles: by their number, one of `PERCENTILES`.
    """

    mean: float
    percentiles: dict[int, float]


def run_closed(
    url: str, model: str, corpus: Path, count: int, concurrency: int, report: Path, timeout: float
) -> Latency:
    """Keep requests under way: whenever one is answered, the next is sent.

    Args:
        url: host:port of the gRPC service.
        model: its name.
        corpus: requests in perf_analyzer's JSON.
        count: how many to send; not below concurrency.
        concurrency: how many are under way.
        report: the CSV file that perf_analyzer writes.
        timeout: seconds after which it is given up.

    Raises:
        LoadError: it failed, a request of it failed, or it took too long.
    """
    return _run(
        url, model, corpus, count, ["--concurrency-range", str(concurrency)], report, timeout
    )


def run_open(
    url: str, model: str, corpus: Path, count: int, rate: float, report: Path, timeout: float
) -> Latency:
    """Send requests in a Poisson process, however long the earlier ones take.

    The intervals are ours: perf_analyzer's own have one seed and no correction, and short runs of
    it send at other rates than they are asked for (40 requests at 4 per second in 13 s).

    Args:
        url: host:port of the gRPC service.
        model: its name.
        corpus: requests in perf_analyzer's JSON.
        count: how many to send.
        rate: requests per second.
        report: the CSV file that perf_analyzer writes; its request rate is a whole number.
        timeout: seconds after which it is given up.

    Raises:
        LoadError: it failed, a request of it failed, or it took too long.
    """
    with tempfile.TemporaryDirectory() as directory:
        intervals = Path(directory) / "intervals"
        intervals.write_text("".join(f"{gap}\n" for gap in poisson_intervals(count, rate)))
        options = ["--request-intervals", str(intervals)]
        return _run(url, model, corpus, count, options, report, timeout)


def poisson_intervals(count: int, rate: float) -> list[int]:
    """Draw the gaps between requests, in microseconds; their mean is exactly 1 / rate.

    The same for every rate but for their scale, so that rates can be compared.
    """
    gaps = np.random.default_rng(0).exponential(size=count)
    microseconds: list[int] = (gaps / gaps.mean() / rate * 1e6).round().astype(int).tolist()
    return microseconds


def _run(
    url: str, model: str, corpus: Path, count: int, load: list[str], report: Path, timeout: float
) -> Latency:
    command = [
        str(DIRECTORY / "perf_analyzer"),
        "-m", model, "-i", "grpc", "-u", url,
        "--input-data", str(corpus),
        "--request-count", str(count),
        # A thread that waits for its answer could not send the next request in time.
        "--async", *load,
        "--verbose-csv", "-f", str(report),
    ]  # fmt: skip
    report.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LD_LIBRARY_PATH": str(DIRECTORY)},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise LoadError(f"{command[0]}: not there; `make load` makes it") from error
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{' '.join(command)}\nexpected to end within {timeout:.0f} s") from error
    if done.returncode != 0 or not report.exists():
        # Behind a wrong option comes all of the manual.
        output = (done.stdout + done.stderr).split("\nUsage:")[0]
        raise LoadError(f"{' '.join(command)}\nended with status {done.returncode}:\n{output}")
    return read_report(report)


def read_report(path: Path) -> Latency:
    """Read the latencies of a run with one level from its CSV.

    Raises:
        LoadError: it has not one row, or lacks a column.
    """
    rows = list(csv.DictReader(path.read_text().splitlines()))
    if len(rows) != 1:
        raise LoadError(f"{path}: expected one row, got {len(rows)}")
    try:
        return Latency(
            float(rows[0]["Avg latency"]) / 1000,
            {q: float(rows[0][f"p{q} latency"]) / 1000 for q in PERCENTILES},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LoadError(f"{path}: expected latencies, got {rows[0]}") from error
