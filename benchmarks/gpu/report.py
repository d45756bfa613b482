"""The report: a line for each step, and tables as docs/performance.md has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.gpu.setting import Setting
from benchmarks.gpu.steps import Step

Results = Mapping[str, Mapping[str, Any]]


def line(step: Step, result: Mapping[str, Any]) -> str:
    """Say in one line what became of a step."""
    outcome = result.get("outcome", "not tried")
    why = result.get("why") or result.get("figures", {}).get("not done")
    why = why or result.get("figures", {}).get("refused")
    return f"{step.name}: {outcome}{f': {why}' if why else ''}"


def report(setting: Setting, steps: Sequence[Step], results: Results) -> str:
    """Write the report in Markdown.

    Args:
        setting: of the run.
        steps: in their order.
        results: of each step by its name; empty for one that was not tried.
    """
    peaks = results.get("peak", {}).get("figures", {}).get("gflops", {})
    lines = [f"# {setting.directory.name}", ""]
    if setting.device != "cuda":
        lines += ["Nothing of this ran on a card.", ""]
    lines += [f"- {line(step, results.get(step.name, {}))}" for step in steps]
    if peaks:
        rates = ", ".join(f"{name} {rate / 1000:.1f}" for name, rate in peaks.items())
        lines += ["", f"Products of large matrices, TFLOP/s: {rates}."]
    for step in steps:
        figures = results.get(step.name, {}).get("figures", {})
        if drawn := list(_tables(figures, peaks.get("bf16"))):
            lines += ["", f"## {step.title}", "", *drawn]
    return "\n".join(lines) + "\n"


def _tables(figures: Mapping[str, Any], peak: float | None) -> Iterator[str]:
    if "parity" in figures:
        yield from _parity(figures)
    if "said" in figures:
        yield ""
        yield from (f"- {said}" for said in figures["said"])
    if "sides" in figures:
        yield from _seconds(figures)
    if "layers" in figures:
        yield from _layers(figures)
    for part in figures.get("parts", [figures] if "rows" in figures else []):
        yield from _rows(part, peak)
        yield ""


def _parity(figures: Mapping[str, Any]) -> Iterator[str]:
    found = figures["parity"]
    yield "| precision | embedding error | mask IoU, mean | least | score error |"
    yield "| --- | --- | --- | --- | --- |"
    yield (
        f"| {figures['precision']} | {found['embedding_error']:.1e} | "
        f"{found['mask_iou_mean']:.5f} | {found['mask_iou_min']:.5f} | "
        f"{found['score_error']:.1e} |"
    )


def _seconds(figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"| {figures['precision']} | seconds | masks |"
    yield "| --- | --- | --- |"
    for name, side in figures["sides"].items():
        yield f"| {name} | {side['seconds']:.4g} | {side.get('masks', '')} |"


def _layers(figures: Mapping[str, Any]) -> Iterator[str]:
    """The kernel beside the attention with a written bias, one layer's, and its two bounds."""
    yield f"Heads of {figures['width']} channels, {figures['heads']}, {figures['precision']}."
    yield ""
    yield (
        "| images, grid | bias written | kernel | blocks (queries, warps, stages) | by the rule "
        "| GB/s | exponentials per clock and multiprocessor |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in figures["layers"]:
        best, rule = (row["seconds"].get(str(tuple(row[name]))) for name in ("best", "rule"))
        by_rule = "absent" if rule is None else f"{1e6 * rule:.0f} us"
        yield (
            f"| {row['size']}, {row['grid']} | {1e6 * row['with_bias_seconds']:.0f} us | "
            f"{1e6 * best:.0f} us, {row['with_bias_seconds'] / best:.1f}x | {tuple(row['best'])} | "
            f"{by_rule} | {row['bytes_per_second'] / 1e9:.0f} | "
            f"{row['exponentials_per_clock']:.1f} of {row['most_exponentials_per_clock']} |"
        )


def _rows(part: Mapping[str, Any], peak: float | None) -> Iterator[str]:
    """Milliseconds, times as fast as the first side, MiB, and the share of bf16's peak."""
    names = list(part["rows"][0]["sides"])
    unit = "images" if part["stage"] == "encode" else "prompts"
    yield f"| {unit}, {part['precision']} | " + " | ".join(names) + " |"
    yield "| --- |" + " --- |" * len(names)
    for row in part["rows"]:
        first = row["sides"][names[0]].get("seconds")
        cells = [_cell(row["sides"][name], first, row["flops"], peak) for name in names]
        yield f"| {row['size']} | " + " | ".join(cells) + " |"


def _cell(side: Mapping[str, Any], first: float | None, flops: int, peak: float | None) -> str:
    if "absent" in side:
        return f"absent: {side['absent']}"
    parts = [f"{1000 * side['seconds']:.3g} ms"]
    # No ratio where another thing was computed.
    if side["differs"]:
        parts.append(f"differs: {side['differs']}")
    elif first:
        parts.append(f"{first / side['seconds']:.2f}x")
    if side["bytes"] is not None:
        parts.append(f"{side['bytes'] / 2**20:.0f} MiB")
    if peak:
        parts.append(f"{flops / side['seconds'] / (peak * 1e9):.0%} of the peak")
    return ", ".join(parts)
