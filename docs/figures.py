"""Tables of docs/performance.md from benchmarks/results; `make docs` has cog write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tables import markdown

from benchmarks.capacity.check import WITHIN
from benchmarks.capacity.simulation import Ring
from benchmarks.comparison.labels import BASELINE, OURS, SERVED, SIDES, STAGES
from benchmarks.comparison.table import cell

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

CALLS: Final = {
    "upload": "upload of a picture that the server keeps, once",
    "click": "a click on it",
    "embed": "`embed`, once",
    "predict": "a click with the embedding",
}
WAYS: Final = {"kept": "on a kept picture", "embedding": "with the embedding"}


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
                f"{round(latency['mean'] - queue - stages['rest'])}",
                f"{stages['rest']:.0f}",
                f"{max(model['batch'] for model in point['models'].values()):.2f}",
            ]
        )
    header = ["loop", "per second", "p50", "p90", "p99", "queue", "compute", "rest", "batch"]
    return markdown(header, rows)


def click_sizes(served: str = "slimsam-77") -> str:
    """Of `benchmarks.clicks`: what each way sends and receives."""
    rows = [
        [meaning, *(f"{count:,}" for count in _clicks(served)["sizes"][call])]
        for call, meaning in CALLS.items()
    ]
    return markdown(["call", "bytes up", "bytes down"], rows)


def click_latency(served: str = "slimsam-77") -> str:
    """Of the same: one click alone, beside the same work in one process."""
    found = _clicks(served)["latency"]
    base = found["in process"]
    rows = [
        [meaning, f"{1000 * found[way]:.1f}", f"{1000 * (found[way] - base):.1f}"]
        for way, meaning in {"in process": "in process", **WAYS}.items()
    ]
    return markdown(["", "ms", "more than in process"], rows)


def click_users(served: str = "slimsam-77") -> str:
    """Of the same: users in a closed loop."""
    rows = [
        [
            f"{row['users']}",
            f"{row['hits']} %",
            WAYS[row["way"]],
            f"{row['rate']:.2f}",
            *(f"{1000 * row[q]:.0f}" for q in ("p50", "p99")),
            f"{row['misses']} of {row['clicks']}",
        ]
        for row in _clicks(served)["rows"]
    ]
    return markdown(["users", "hits", "a click", "per second", "p50", "p99", "misses"], rows)


def overload(alone: bool) -> str:
    """Of `benchmarks.overload`: each kind of users alone, or clicks beside the others."""
    header = ["users", "of capacity", "come/s", "in time/s", "refused", "late", "p50", "p99", "MiB"]
    rows = [
        [
            row["kind"] if alone else f"{row['kind']}, of {row['name']}",
            f"{row['multiple']:g}",
            *(f"{row[rate]:.2f}" for rate in ("offered", "goodput")),
            *(str(row[count]) for count in ("refused", "late")),
            *("never" if row[q] is None else f"{row[q]:.2f} s" for q in ("p50", "p99")),
            f"{row['mib']:.0f}",
        ]
        for found in _overloads().values()
        for row in found["rows"]
        if (row["name"] == row["kind"]) == alone
    ]
    return markdown(header, rows)


def capacities() -> str:
    """Of the same: a server with its queues' ends, and one without; and how it was measured."""
    rows = [
        [
            kind,
            f"{one['lone']:.3f} s",
            *(f"{one[queues]:.2f}" for queues in ("bounded", "unbounded")),
            "shared" if found["processors"] is None else " + ".join(map(str, found["processors"])),
            "unknown" if found["load"] is None else f"{found['load']:g}",
        ]
        for kind, found in _overloads().items()
        for one in [found["capacity"]]
    ]
    header = ["users", "one alone", "per second", "where queues have no end"]
    return markdown([*header, "processors", "load before"], rows)


def _overloads() -> dict[str, Any]:
    paths = (RESULTS / "overload" / MACHINE).glob("*.json")
    return {path.stem: json.loads(path.read_text()) for path in sorted(paths)}


def fused(model: str) -> str:
    """Of benchmarks/tensorrt_graphs.py: one model in both forms, profile by profile."""
    forms: dict[str, list[dict[str, Any]]] = {}
    for row in _read("tensorrt/slimsam-77.json")["rows"]:
        if row["model"] == model:
            forms.setdefault(row["form"], []).append(row)
    figures = {"kernels": "d", "attentions": "d", "mib": ".0f", "gigabytes": ".2f", "gflop": ".0f"}
    rows = [
        [was["shape"], *(f"{was[key]:{how}} → {now[key]:{how}}" for key, how in figures.items())]
        for was, now in zip(*forms.values(), strict=True)
    ]
    header = ["", "kernels", "whole attentions", "scratch MiB", "GB moved", "GFLOP"]
    return markdown(header, rows)


def memory() -> str:
    """Of `benchmarks.memory`: MiB of client and server."""
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


def _clicks(served: str) -> Any:
    return _read(f"clicks/{MACHINE}/{served}.json")


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


def capacity(served: str = "demo-openvino") -> str:
    """Of `benchmarks.capacity check`: the server, and the simulation of the same users."""
    found = _read(f"capacity/{MACHINE}/{served}.json")
    rows = []
    for row in found["rows"]:
        measured, simulated, level = row["measured"], row["simulated"], row["level"]
        rows.append(
            [
                str(level["clicks"]),
                f"{level['share']:.0%}",
                row["kind"],
                *(f"{side['throughput']:.2f}" for side in (measured, simulated)),
                *(f"{1000 * side['p50']:.0f}" for side in (measured, simulated)),
                *(f"{1000 * side['p95']:.0f}" for side in (measured, simulated)),
                f"{row['ratio']:.2f}",
                f"{row['others']:.0%}",
                str(row["runs"]) if row["counts"] else f"{row['runs']}, does not count",
            ]
        )
    header = [
        "clicks", "of the machine", "", "per second", "simulated", "p50", "simulated", "p95",
        "simulated", "ratio", "others", "runs",
    ]  # fmt: skip
    return markdown(header, rows)


def capacity_times(served: str = "demo-openvino") -> str:
    """Of the same: what lone requests take."""
    found = _read(f"capacity/{MACHINE}/{served}-times.json")
    rows = []
    for name, meaning in (("upload", "upload"), ("click", "click")):
        parts = [found[name][part] for part in ("around", "own", "model")]
        busy = sum(part["seconds"] * part["share"] for part in parts)
        rows.append(
            [
                meaning,
                *(f"{1000 * part['seconds']:.1f}" for part in parts),
                f"{parts[-1]['share']:.0%}",
                f"{1000 * busy:.1f}",
                f"{1 / busy:.1f}",
                f"{found[name]['weight']:.2f}" if "weight" in found[name] else "",
            ]
        )
    kept = found["kept"]
    busy = kept["seconds"] * kept["share"]
    rows.append(
        ["upload of a kept picture", f"{1000 * kept['seconds']:.1f}", "", "", "",
         f"{1000 * busy:.1f}", f"{1 / busy:.1f}", ""]
    )  # fmt: skip
    more = f"{found['crowding']:.2f} times as long"
    rows.append(["each, where more is asked for than there is", "", "", "", "", more, "", ""])
    header = [
        "ms", "around", "in Python", "encoder or decoder", "which keeps busy",
        "of the whole machine", "a second, at most", "weight",
    ]  # fmt: skip
    return markdown(header, rows)


def capacity_bound(served: str = "demo-openvino") -> str:
    """Of the same: how many 95th percentiles are within the bound, and how far all are."""
    ratios = [row["ratio"] for row in _read(f"capacity/{MACHINE}/{served}.json")["rows"]]
    within = sum(abs(ratio - 1) <= WITHIN for ratio in ratios)
    return (
        f"Of {len(ratios)} simulated 95th percentiles {within} are within the bound; they are "
        f"{min(ratios):.2f} to {max(ratios):.2f} of the measured ones."
    )


def ring() -> str:
    """The largest share of a consistent hash, by servers and points on the ring."""
    points = (1024, 10_000, 100_000)
    rows = [
        [str(servers), *(f"{Ring(servers, least).largest_share():.2f}" for least in points)]
        for servers in (4, 16, 100, 1000)
    ]
    return markdown(["servers", *(f"{least:,} points" for least in points)], rows)


def scrapes(servers: int, seconds: int, days: int, served: str = "demo-openvino") -> str:
    """Of `benchmarks.capacity check`: what Prometheus has of so many servers, 2 bytes a sample."""
    series = _read(f"capacity/{MACHINE}/{served}.json")["metric_series"]
    rate = series * servers / seconds
    rows = [
        ["series of one server", f"{series:,}"],
        [f"series of {servers:,}", f"{series * servers:,}"],
        [f"samples a second, each {seconds} s", f"{rate:,.0f}"],
        [f"{days} days on disk, GB", f"{rate * days * 86_400 * 2 / 1e9:,.0f}"],
    ]
    return markdown(["", ""], rows)
