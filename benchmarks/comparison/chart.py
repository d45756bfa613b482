"""Results as a picture: a bar for each side and stage, as long as it is times as fast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib import pyplot

from benchmarks.comparison.labels import BASELINE, SIDES, STAGES

COLORS: Final = {
    "sam_model_eager": "#c9c9c9",
    "onnx_onnxruntime": "#9db4c0",
    "onnx_openvino": "#5c8aa8",
    "ours_fp32": "#d1495b",
    "ours_bf16": "#8d1f3a",
    "served_fp32": "#edae49",
}
BAR: Final = 0.8
"""Height of a stage's bars together; the rest is the gap to the next."""


def draw_chart(results: Mapping[str, Any], path: Path) -> None:
    """Write the chart.

    Args:
        results: the content of a results file.
        path: an .svg file.
    """
    geometries = results["geometries"]
    rows = max(len(stages) for stages in geometries.values())
    # Text stays text: the file is small, and the same for the same results.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "", "font.size": 9}):
        figure, axes = pyplot.subplots(
            1, len(geometries), figsize=(6 * len(geometries), 1 + 0.95 * rows), squeeze=False
        )
        for axis, (geometry, stages) in zip(axes[0], geometries.items(), strict=True):
            _draw(axis, stages)
            axis.set_title(geometry)
        figure.suptitle(f"{results['machine']['processor']}, {results['machine']['cores']} cores")
        handles = {
            label: handle
            for axis in axes[0]
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        if handles:
            figure.legend(
                handles.values(), handles.keys(), loc="lower center", ncols=3 * len(geometries)
            )
        figure.tight_layout(rect=(0, 0.06, 1, 1))
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def _draw(axis: Any, stages: Mapping[str, Any]) -> None:
    names = [name for name in STAGES if BASELINE in stages.get(name, {}).get("sides", {})]
    sides = [
        side
        for side in COLORS
        if any(stages[name]["sides"].get(side, {}).get("ratio") for name in names)
    ]
    height = BAR / max(len(sides), 1)
    for index, side in enumerate(sides):
        ratios = {
            row: stages[name]["sides"].get(side, {}).get("ratio") for row, name in enumerate(names)
        }
        found = {row: ratio for row, ratio in ratios.items() if ratio}
        bars = axis.barh(
            [row - BAR / 2 + (index + 0.5) * height for row in found],
            list(found.values()),
            height,
            label=SIDES[side],
            color=COLORS[side],
        )
        axis.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_yticks(range(len(names)), [STAGES[name] for name in names])
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.set_xlabel(f"times as fast as {SIDES[BASELINE]}")
    axis.spines[["top", "right"]].set_visible(False)
