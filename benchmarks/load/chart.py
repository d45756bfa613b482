"""The chart of a workload under load: latency by throughput, and where a request's time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.load.point import Point

STYLES = {
    ("closed", 50): "C0o-",
    ("closed", 90): "C0o:",
    ("open", 50): "C1s-",
    ("open", 90): "C1s:",
}


def draw_chart(path: Path, points: list[Point]) -> None:
    """Draw one workload."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    curve, stages = figure.subplots(1, 2)
    _curve(curve, points)
    _stages(stages, points)
    figure.suptitle(points[0].workload)
    figure.savefig(path, dpi=100)


def _curve(axes: Any, points: list[Point]) -> None:
    for (loop, percentile), style in STYLES.items():
        own = [point for point in points if point.level.loop == loop]
        axes.plot(
            [point.throughput for point in own],
            [point.latency.percentiles[percentile] for point in own],
            style,
            label=f"{loop} loop, p{percentile}",
        )
    for point in points:
        axes.annotate(
            _name(point),
            (point.throughput, point.latency.percentiles[50]),
            textcoords="offset points", xytext=(4, 4), fontsize=8,
        )  # fmt: skip
    axes.set_xlabel("requests per second")
    axes.set_ylabel("latency, ms")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _stages(axes: Any, points: list[Point]) -> None:
    """A bar for each level; stages that are never a hundredth of it are part of the rest."""
    names = [_name(point) for point in points]
    stages = [point.stages_ms() for point in points]
    shown = [
        stage
        for stage in dict.fromkeys(stage for found in stages for stage in found)
        if stage != "rest"
        and any(
            found.get(stage, 0.0) >= point.latency.mean / 100
            for found, point in zip(stages, points, strict=True)
        )
    ]
    bottom = [0.0] * len(points)
    for stage in shown:
        heights = [found.get(stage, 0.0) for found in stages]
        axes.bar(names, heights, bottom=bottom, label=stage)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    rest = [point.latency.mean - low for point, low in zip(points, bottom, strict=True)]
    axes.bar(names, rest, bottom=bottom, label="rest", color="lightgrey")
    axes.set_xlabel("closed loop: requests under way; open loop: % of its best")
    axes.set_ylabel("mean of a request, ms")
    axes.legend(fontsize=8)


def _name(point: Point) -> str:
    return point.level.name + (" %" if point.level.loop == "open" else "")
