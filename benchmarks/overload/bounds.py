"""What a server must keep when more users come than it can answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.overload.figures import Capacity, Row

FLAT: Final = 0.8
"""Of the best goodput, what is left of it at the most users."""
UNBOUNDED: Final = 0.9
"""Of the throughput with endless queues, what is reached with those that have an end."""
STARVED: Final = 10.0
"""Times a lone click's median, the 99th percentile of clicks beside others."""


def missed_bounds(capacities: dict[str, Capacity], rows: list[Row]) -> Iterator[str]:
    """Say which bounds are missed."""
    for row in rows:
        if row.failed:
            yield f"{row.name}: {row.failed} users got an error that load does not explain"
    for kind, found in capacities.items():
        own = [row for row in rows if row.name == row.kind == kind]
        if own:
            best, last = max(row.goodput for row in own), max(own, key=lambda row: row.multiple)
            if not last.counts:
                yield f"{kind}: at {last.multiple:g} times the capacity no row counts"
            elif last.goodput < FLAT * best:
                yield (
                    f"{kind}: expected {FLAT:.0%} of {best:.2f}/s in time at {last.multiple:g} "
                    f"times the capacity, got {last.goodput:.2f}/s"
                )
        if found.bounded < UNBOUNDED * found.unbounded:
            yield (
                f"{kind}: expected {UNBOUNDED:.0%} of {found.unbounded:.2f}/s, which queues "
                f"without an end reach, got {found.bounded:.2f}/s"
            )
    bound = STARVED * capacities["click"].lone
    for row in rows:
        if row.counts and row.kind == "click" and row.name != "click" and not row.p99 <= bound:
            yield f"{row.name}: expected a click's p99 within {bound:.2f} s, got {row.p99:.2f} s"
