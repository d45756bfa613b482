"""Tables of docs/performance.md from benchmarks/results; `make docs` has cog write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from labels import BASELINE, OURS, SERVED, SIDES, STAGES
from ratio_table import cell
from tables import markdown

RESULTS: Final = Path(__file__).parents[1] / "benchmarks" / "results"
MACHINE: Final = "amd-epyc-2-cores"
SUMMARY: Final = {
    "encode_fp32": "encoder, times as fast as `SamModel` with sdpa",
    "decode_1": "decoder, 1 prompt, the same",
    "decode_64": "decoder, 64 prompts, the same",
    "everything_1024": "everything mode, times as fast as the `mask-generation` pipeline",
    "encode_fp32_over_limit": "encoder, time over that of its FLOP at the GEMM peak",
    "decode_64_over_limit": "decoder, 64 prompts, the same",
    "ensemble_overhead_ms": "ensemble through gRPC, ms more than the two graphs in process",
    "click_overhead_ms": "a click through the client, ms more than the decoder in process",
    "decoder_overhead_ms": "a decoder request alone, ms more than the decoder in process",
}


def ratios(geometry: str) -> str:
    """Of `make bench`: how many times as fast as `SamModel`, and seconds, of all sides."""
    stages = _stages(geometry)
    sides = [
        name
        for name in SIDES
        if any(stage["sides"].get(name, {}).get("seconds") for stage in stages.values())
    ]
    shares = {name: stage["sides"][OURS]["of_limit"] for name, stage in stages.items()}
    rows = [
        [*row, f"{shares[name]:.0%}"]
        for name, row in zip(stages, _cells(stages, sides), strict=True)
    ]
    return markdown(["", *(SIDES[side] for side in sides), "of the limit"], rows)


def short(geometry: str) -> str:
    """Of `make bench`: `SamModel` with sdpa, this project, and it served."""
    stages = _stages(geometry)
    sides = (BASELINE, OURS, SERVED)
    compared = {name: stage for name, stage in stages.items() if BASELINE in stage["sides"]}
    return markdown(["", *(SIDES[side] for side in sides)], _cells(compared, sides))


def summary() -> str:
    """Of `make bench`: the headline figures."""
    figures = _read(f"{MACHINE}.json")["summary"]
    rows = [
        [f"`{name}`", meaning, f"{figures[name]:.2f}" if abs(figures[name]) < 10 else
         f"{figures[name]:.0f}"]
        for name, meaning in SUMMARY.items()
        if figures.get(name) is not None
    ]  # fmt: skip
    return markdown(["figure", "", ""], rows)


def load(workload: str, served: str = "demo") -> str:
    """Of `make load`: one workload's runs."""
    content = _read(f"load/{MACHINE}/{served}/{workload}.json")
    rows = []
    for point in content["points"]:
        latency, stages = point["latency_ms"], point["stages_ms"]
        queue = sum(ms for stage, ms in stages.items() if stage.endswith("queue"))
        level = point["level"]
        rows.append(
            [
                f"{level:g} under way" if point["loop"] == "closed" else f"{level:.2f} per second",
                f"{point['throughput']:.2f}",
                *(f"{latency[quantile]:.0f}" for quantile in ("50", "90", "99")),
                f"{queue:.0f}",
                f"{latency['mean'] - queue - stages['rest']:.0f}",
                f"{stages['rest']:.0f}",
                f"{max(model['batch'] for model in point['models'].values()):.2f}",
            ]
        )
    header = ["loop", "per second", "p50", "p90", "p99", "queue", "compute", "rest", "batch"]
    return markdown(header, rows)


def memory() -> str:
    """Of benchmarks/memory.py: MiB of client and server."""
    rows = [
        [
            f"`{workload}`",
            str(figures["requests"]),
            *(
                f"{figures[side][what]:+.1f}" if what == "growth_mib" else
                f"{figures[side][what]:.0f}"
                for side in ("client", "server")
                for what in ("before_mib", "peak_mib", "growth_mib")
            ),
        ]
        for workload, figures in _read(f"memory/{MACHINE}.json").items()
    ]  # fmt: skip
    sides = [f"{side}: {what}" for side in ("client", "server") for what in ("before", "peak",
             "growth")]  # fmt: skip
    return markdown(["workload", "requests", *sides], rows)


def _stages(geometry: str) -> dict[str, Any]:
    found = _read(f"{MACHINE}.json")["geometries"][geometry]
    return {name: found[name] for name in STAGES if name in found}


def _cells(stages: dict[str, Any], sides: Sequence[str]) -> list[list[str]]:
    return [
        [STAGES[name], *(cell(stage["sides"].get(side, {})) for side in sides)]
        for name, stage in stages.items()
    ]


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())
