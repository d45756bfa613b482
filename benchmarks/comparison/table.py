"""Results as text: ratios first, because seconds differ between machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.comparison.labels import BASELINE, OURS, SIDES, STAGES

WIDTH: Final = 22


def table(geometry: str, stages: Mapping[str, Any]) -> str:
    """Draw the results of one geometry.

    Args:
        geometry: its name.
        stages: derived ones, by name.
    """
    used = [name for name in SIDES if any(name in stage["sides"] for stage in stages.values())]
    lines = [
        f"{geometry}: times as fast as {SIDES[BASELINE]} (seconds, medians)",
        f"{'':24}" + "".join(f"{SIDES[name]:>{WIDTH}}" for name in used) + f"{'of the limit':>14}",
    ]
    for name in (name for name in STAGES if name in stages):
        sides = stages[name]["sides"]
        cells = "".join(f"{cell(sides.get(side, {})):>{WIDTH}}" for side in used)
        share = sides.get(OURS, {}).get("of_limit")
        lines.append(f"{STAGES[name]:24}{cells}{'' if share is None else f'{share:.0%}':>14}")
    lines += [f"  {line}" for line in _remarks(stages)]
    return "\n".join(lines)


def cell(side: Mapping[str, Any]) -> str:
    """Draw one side's result in one stage, derived."""
    if "absent" in side:
        return "absent"
    if not side:
        return ""
    if side["differs"]:
        return "differs"
    seconds = f"({'~' * ('times_by_points' in side)}{side['seconds']:.3g} s)"
    return f"{side['ratio']:.2f}x {seconds}" if side["ratio"] else seconds


def _remarks(stages: Mapping[str, Any]) -> list[str]:
    """Why a cell has no figure, and what a figure does not tell by itself."""
    remarks: dict[str, list[str]] = {}
    for stage, content in stages.items():
        for name, side in content["sides"].items():
            if reason := side.get("absent"):
                remarks.setdefault(f"{SIDES[name]}: absent: {reason}", []).append(stage)
            elif reason := side.get("differs"):
                remarks.setdefault(f"{SIDES[name]} differs: {reason}", []).append(stage)
            elif "times_by_points" in side:
                points = " and ".join(side["times_by_points"])
                line = f"~ transformers' pipeline, measured with {points} points and extrapolated"
                remarks.setdefault(line, []).append(stage)
    return [
        line if len(where) == len(stages) else f"{line} [{', '.join(where)}]"
        for line, where in remarks.items()
    ]
