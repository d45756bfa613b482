"""The figures of a load test, on the terminal and in a file."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.load.perf_analyzer import PERCENTILES
from benchmarks.load.point import MODELS, Point

HEADER = (
    f"{'workload':12}{'loop':16}{'sent':>5}{'per s':>8}"
    + "".join(f"{f'p{q} ms':>9}" for q in PERCENTILES)
    + f"{'queue':>9}{'compute':>9}{'rest':>8}{'batch':>7}"
)


def row(point: Point) -> str:
    """One point as a line under `HEADER`.

    "per s" are requests answered in a closed loop, and sent in an open one; queue, compute and rest
    are means of a request, in milliseconds.
    """
    level = point.level
    loop = f"closed, {level.value:g}" if level.loop == "closed" else f"open, {level.name} %"
    stages = point.stages_ms()
    queue = sum(ms for stage, ms in stages.items() if stage.endswith("queue"))
    latencies = "".join(f"{point.latency.percentiles[q]:9.0f}" for q in PERCENTILES)
    return (
        f"{point.workload:12}{loop:16}{point.requests:5}{point.throughput:8.2f}{latencies}"
        f"{queue:9.0f}{point.latency.mean - queue - stages['rest']:9.0f}{stages['rest']:8.0f}"
        f"{largest_batch(point):7.2f}"
    )


def largest_batch(point: Point) -> float:
    """The mean batch of the model whose requests were batched most."""
    return max(statistics.batch for statistics in point.models.values())


def write_json(path: Path, points: list[Point], options: argparse.Namespace) -> None:
    """Write all figures, and what they were measured with."""
    content = {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "server": "another host's" if options.url else f"embedded, {options.target}",
        "checkpoint": None if options.url else Path(options.checkpoint).name,
        "client_cores": len(os.sched_getaffinity(0)),
        "points_per_side": options.points_per_side,
        "seed": options.seed,
        "points": [_entry(point) for point in points],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _entry(point: Point) -> dict[str, Any]:
    def rounded(values: dict[Any, float]) -> dict[str, float]:
        return {str(name): round(value, 2) for name, value in values.items()}

    return {
        "workload": point.workload,
        "model": MODELS[point.workload],
        "loop": point.level.loop,
        "level": round(point.level.value, 3),
        "requests": point.requests,
        "throughput": round(point.throughput, 3),
        "latency_ms": {"mean": round(point.latency.mean, 2), **rounded(point.latency.percentiles)},
        "stages_ms": rounded(point.stages_ms()),
        "models": {
            name: {**asdict(statistics), "batch": round(statistics.batch, 2)}
            for name, statistics in sorted(point.models.items())
        },
    }
