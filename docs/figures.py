"""Tables of docs/performance.md from benchmarks/results; `make docs` has cog write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tables import markdown

RESULTS: Final = Path(__file__).parents[1] / "benchmarks" / "results"
MACHINE: Final = "amd-epyc-2-cores"
SIDES: Final = {
    "sam_model_sdpa": "`SamModel`, sdpa",
    "sam_model_eager": "`SamModel`, eager",
    "onnx_onnxruntime": "its ONNX, ONNX Runtime",
    "onnx_openvino": "its ONNX, OpenVINO",
    "ours_fp32": "**this project**",
    "served_fp32": "**served**, gRPC",
}
STAGES: Final = {
    "encode": "encode an image",
    "decode_1": "decode 1 prompt",
    "decode_8": "decode 8 prompts",
    "decode_64": "decode 64 prompts",
    "click": "a click on a known image",
    "ensemble": "ensemble, 1 prompt",
    "segment": "segment, from a 12-megapixel JPEG",
    "everything_1024": "everything mode, 1024 points",
}
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
    """Of `make bench`: how many times as fast as `SamModel`, and seconds."""
    stages = _read(f"{MACHINE}.json")["geometries"][geometry]
    rows = []
    for name in (name for name in STAGES if name in stages):
        sides = stages[name]["sides"]
        share = sides["ours_fp32"].get("of_limit")
        cells = [_ratio(sides.get(side)) for side in SIDES]
        rows.append([STAGES[name], *cells, "" if share is None else f"{share:.0%}"])
    return markdown(["", *SIDES.values(), "of the limit"], rows)


def short(geometry: str) -> str:
    """Of `make bench`: `SamModel` with sdpa, this project, and it served."""
    stages = _read(f"{MACHINE}.json")["geometries"][geometry]
    sides = ("sam_model_sdpa", "ours_fp32", "served_fp32")
    rows = [
        [STAGES[name], *(_ratio(stages[name]["sides"].get(side)) for side in sides)]
        for name in STAGES
        if stages.get(name, {}).get("sides", {}).get(sides[0])
    ]
    return markdown(["", *(SIDES[side] for side in sides)], rows)


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


def load(workload: str) -> str:
    """Of `make load`: one workload's runs."""
    content = _read(f"load/{MACHINE}/demo/{workload}.json")
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
            ]
        )
    header = ["loop", "per second", "p50", "p90", "p99", "queue", "compute", "rest"]
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


def _ratio(side: dict[str, Any] | None) -> str:
    if not side or "absent" in side:
        return ""
    if side["differs"]:
        return "differs"
    seconds = f"{'~' * ('times_by_points' in side)}{side['seconds']:.3g} s"
    return f"{side['ratio']:.2f}x ({seconds})" if side["ratio"] else seconds


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())
