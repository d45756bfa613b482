"""What a click on a kept picture may cost, beside one that carries its embedding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.clicks.figures import Figures, Row
from benchmarks.clicks.latency import IN_PROCESS
from benchmarks.clicks.ways import EMBEDDING, KEPT

MOST_BYTES: Final = 1000
"""Of a click's request."""
OVERHEAD: Final = 0.5
"""Of the other way's overhead over the same work in one process."""
THROUGHPUT: Final = 0.95
"""Of the other way's clicks per second, where every picture is known."""


def missed_bounds(figures: Figures) -> Iterator[str]:
    """Say which bounds are missed."""
    sent, _ = figures.sizes["click"]
    if sent > MOST_BYTES:
        yield f"expected a click's request of at most {MOST_BYTES:,} bytes, got {sent:,}"
    base = figures.latency[IN_PROCESS]
    kept, other = (1000 * (figures.latency[way.name] - base) for way in (KEPT, EMBEDDING))
    if kept > OVERHEAD * other:
        yield (
            f"expected a click to take at most {OVERHEAD:.0%} of the {other:.1f} ms that one with "
            f"an embedding takes more than in process, got {kept:.1f} ms"
        )
    for row in figures.rows:
        if row.way != KEPT.name or row.hits < 100:
            continue
        rate = _same(figures, row).rate
        if row.rate < THROUGHPUT * rate:
            yield (
                f"{row.users} users: expected {THROUGHPUT:.0%} of {rate:.2f} clicks per second, "
                f"got {row.rate:.2f}"
            )


def _same(figures: Figures, row: Row) -> Row:
    """Give the other way's row of the same level."""
    (found,) = (
        other
        for other in figures.rows
        if (other.way, other.users, other.hits) == (EMBEDDING.name, row.users, row.hits)
    )
    return found
