"""The figures of an overload: of each kind of users in each run, and of the server."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.overload.users import Outcomes, Run

COUNTED_SHARE: Final = 0.5
"""Of its processors' time, what the generator may take in a row that counts."""
HEADER: Final = (
    f"{'users':<22}{'offered/s':>10}{'in time/s':>10}{'refused':>9}{'late':>7}{'left':>6}"
    f"{'failed':>8}{'p50 s':>8}{'p99 s':>8}{'MiB':>7}{'generator':>11}"
)


@dataclass(frozen=True)
class Row:
    """One kind's users in one run.

    Attributes:
        name: of the run.
        kind: the users'.
        multiple: of the server's capacity for them, how many came.
        offered, goodput: users per second that came, and that were answered in time.
        refused, late, cancelled, failed: how many of the others ended so.
        p50, p99: seconds; of all who did not leave, where no answer is infinite.
        mib: the most memory that the server has held.
        share: of its processors' time, what the generator took.
    """

    name: str
    kind: str
    multiple: float
    offered: float
    goodput: float
    refused: int
    late: int
    cancelled: int
    failed: int
    p50: float
    p99: float
    mib: float
    share: float

    @property
    def counts(self) -> bool:
        """Whether the generator was not late itself."""
        return self.share <= COUNTED_SHARE

    def __str__(self) -> str:
        note = "" if self.counts else " (does not count)"
        return (
            f"{self.name:<22}{self.offered:10.2f}{self.goodput:10.2f}{self.refused:9}{self.late:7}"
            f"{self.cancelled:6}{self.failed:8}{self.p50:8.2f}{self.p99:8.2f}{self.mib:7.0f}"
            f"{self.share:11.0%}{note}"
        )


@dataclass(frozen=True)
class Capacity:
    """Of a server for one kind of request.

    Attributes:
        lone: median seconds of one alone.
        bounded, unbounded: answers per second in a closed loop, with and without an end of the
            queues; medians of some rounds.
    """

    lone: float
    bounded: float
    unbounded: float


def make_row(name: str, multiple: float, run: Run, outcomes: Outcomes, mib: float) -> Row:
    """Take the figures of one kind of users."""
    ends = outcomes.ends.copy()
    del ends["after the end"]
    refused, late, cancelled = (ends.pop(end, 0) for end in ("refused", "late", "cancelled"))
    never = [math.inf] * (refused + late + ends.total())
    seconds = sorted([*outcomes.answered, *never])
    return Row(
        name, outcomes.kind, multiple, outcomes.offered / run.seconds,
        run.goodput(outcomes.kind), refused, late, cancelled, ends.total(),
        nearest_rank(seconds, 0.5), nearest_rank(seconds, 0.99), mib, round(run.share, 3),
    )  # fmt: skip


def written(row: Row) -> dict[str, Any]:
    """Give a row as JSON has it, which knows no infinity."""
    found = asdict(row)
    unknown = {q: None for q in ("p50", "p99") if not math.isfinite(found[q])}
    return {**found, **unknown}


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file that the benchmark has written."""
    rows = json.loads(path.read_text())["rows"]
    return [Row(**{name: _known(value) for name, value in row.items()}) for row in rows]


def _known(value: Any) -> Any:
    return math.inf if value is None else value


def nearest_rank(ordered: list[float], share: float) -> float:
    """Give a percentile of values that may be infinite, which cannot be interpolated."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan
