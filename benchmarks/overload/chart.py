"""The chart of an overload: who is answered in time, by how many come."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.overload.figures import read_rows


def draw_chart(directory: Path) -> None:
    """Draw a curve for each kind of users that has a file there, to overload.png.

    Both axes are in parts of the kind: of its capacity, and of its best goodput.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for path in sorted(directory.glob("*.json")):
        kind = path.stem
        own = [row for row in read_rows(path) if row.name == row.kind and row.counts]
        if not own:
            continue
        best = max(row.goodput for row in own)
        axes.plot(
            [row.multiple for row in own], [row.goodput / best for row in own], "o-",
            label=f"{kind}, {best:.3g}/s",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("users who come, by the server's capacity")
    axes.set_ylabel("answered in time, by the best")
    axes.set_ylim(0, 1.1)
    axes.legend()
    figure.savefig(directory / "overload.png", dpi=100)
