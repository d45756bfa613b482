"""The figures of clicks: on the terminal, and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.clicks.latency import IN_PROCESS
from benchmarks.clicks.users import Level, Run, percentile
from benchmarks.clicks.ways import Way

HEADER: Final = (
    f"{'way':<12}{'users':>6}{'hits':>7}{'clicks':>8}{'misses':>8}{'per s':>8}"
    f"{'p50 ms':>9}{'p99 ms':>9}"
)


@dataclass(frozen=True)
class Row:
    """One way at one level.

    Attributes:
        way: its name.
        users, hits: of the level.
        clicks, misses: of all rounds.
        rate: clicks per second, the median of the rounds.
        p50, p99: seconds of a click, in all rounds.
    """

    way: str
    users: int
    hits: int
    clicks: int
    misses: int
    rate: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return (
            f"{self.way:<12}{self.users:6}{self.hits:5} %{self.clicks:8}{self.misses:8}"
            f"{self.rate:8.2f}{1000 * self.p50:9.1f}{1000 * self.p99:9.1f}"
        )


@dataclass(frozen=True)
class Figures:
    """All of them.

    Attributes:
        sizes: bytes of a request and of its answer, by the call's name.
        latency: median seconds of a click, by the side's name.
        rows: of each level and way.
    """

    sizes: dict[str, tuple[int, int]]
    latency: dict[str, float]
    rows: list[Row]


def make_row(way: Way, level: Level, runs: list[Run]) -> Row:
    """Take the figures of all rounds."""
    return Row(
        way.name, level.users, level.hits,
        sum(len(run.seconds) for run in runs), sum(run.misses for run in runs),
        round(statistics.median(run.rate for run in runs), 3),
        round(percentile(runs, 50), 4), round(percentile(runs, 99), 4),
    )  # fmt: skip


def described(sizes: dict[str, tuple[int, int]]) -> Iterator[str]:
    """Give a line for each call's bytes."""
    for name, (sent, received) in sizes.items():
        yield f"{name:<12}{sent:12,} bytes up{received:12,} down"


def compared(latency: dict[str, float]) -> Iterator[str]:
    """Give a line for each side's click, beside the one in this process."""
    for name, seconds in latency.items():
        more = 1000 * (seconds - latency[IN_PROCESS])
        yield f"{name:<12}{1000 * seconds:8.1f} ms, {more:5.1f} more than {IN_PROCESS}"
