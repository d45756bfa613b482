"""What follows from measured times: medians, ratios, fractions of the machine's limit.

A ratio is `SamModel`'s time over a side's: how many times as fast it is. Where the two computed
different things there is none.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.comparison.everything import POINTS_PER_SIDE, extrapolate
from benchmarks.comparison.labels import BASELINE, BF16, OURS, SERVED

HEADLINE: Final = "slimsam-77"
RATIOS: Final = {
    "encode_fp32": ("encode", OURS),
    "encode_bf16": ("encode", BF16),
    "decode_1": ("decode_1", OURS),
    "decode_64": ("decode_64", OURS),
    "everything_1024": ("everything_1024", OURS),
}
"""Of the summary: which stage's, and of which side."""
OVER_LIMIT: Final = {"encode_fp32_over_limit": "encode", "decode_64_over_limit": "decode_64"}
NOT_MEASURED: Final = "this stage has not been measured"


def derive(stage: Mapping[str, Any], peaks: Mapping[str, float | None]) -> dict[str, Any]:
    """Complete a stage's measurement.

    Args:
        stage: as `stages.measure` gives it.
        peaks: GFLOP/s of matrix products, by precision.

    Returns:
        The same with `limit_seconds`, and with `seconds`, `ratio` and `of_limit` of each side.
    """
    limits = {
        precision: stage["flops"] / (peak * 1e9) if peak else None
        for precision, peak in peaks.items()
    }
    medians = {name: _seconds(side) for name, side in stage["sides"].items()}
    baseline = medians.get(BASELINE)
    sides = {}
    for name, side in stage["sides"].items():
        seconds = medians[name]
        limit = limits["bf16" if name == BF16 else "fp32"]
        agrees = seconds is not None and side.get("differs") is None
        sides[name] = {
            **side,
            "seconds": seconds,
            "ratio": baseline / seconds if agrees and seconds and baseline else None,
            "of_limit": limit / seconds if agrees and seconds and limit else None,
        }
    return {**stage, "gemm_gflops": dict(peaks), "limit_seconds": limits, "sides": sides}


def summarize(stages: Mapping[str, Any]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Give the headline figures of one geometry.

    Args:
        stages: derived ones, by name.

    Returns:
        The figures, and of each that is None, why.
    """
    summary: dict[str, float | None] = {}
    notes: dict[str, str] = {}
    for figure, (stage, name) in RATIOS.items():
        side = _side(stages, stage, name)
        summary[figure] = side.get("ratio")
        notes[figure] = _why(side)
    for figure, stage in OVER_LIMIT.items():
        side = _side(stages, stage, OURS)
        summary[figure] = 1 / side["of_limit"] if side.get("of_limit") else None
        notes[figure] = _why(side)
    for figure, served, direct in (
        ("ensemble_overhead_ms", "ensemble", "ensemble"),
        ("click_overhead_ms", "click", "decode_1"),
        ("decoder_overhead_ms", "decode_1", "decode_1"),
    ):
        pair = _side(stages, served, SERVED), _side(stages, direct, OURS)
        notes[figure] = next((why for why in map(_why, pair) if why), "")
        summary[figure] = (
            None if notes[figure] else 1000 * (pair[0]["seconds"] - pair[1]["seconds"])
        )
    return summary, {figure: notes[figure] for figure, value in summary.items() if value is None}


def _side(stages: Mapping[str, Any], stage: str, name: str) -> Mapping[str, Any]:
    side: Mapping[str, Any] = stages.get(stage, {}).get("sides", {}).get(name, {})
    return side


def _why(side: Mapping[str, Any]) -> str:
    if not side:
        return NOT_MEASURED
    return str(side.get("absent") or side.get("differs") or "")


def _seconds(side: Mapping[str, Any]) -> float | None:
    if "times_by_points" in side:
        return extrapolate(side["times_by_points"], POINTS_PER_SIDE**2)
    return statistics.median(side["times"]) if side.get("times") else None
