"""The benchmarks run, at their smallest: what they measure needs a machine of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

Run = Callable[..., str]


def test_wire_bytes(run_benchmark: Run) -> None:
    lines = run_benchmark("wire", "--points-per-side", 2).splitlines()[3:]
    found = [re.fullmatch(r"(.+?) +([\d,]+) +([\d,]+) +(\d+)", line) for line in lines]
    calls = {
        row[1]: [int(text.replace(",", "")) for text in row.groups()[1:]] for row in found if row
    }
    assert len(calls) == len(lines) == 8
    frame, embedding, mask = 1024 * 1024 * 3, 256 * 64 * 64 * 2, 4 * 256 * 256 * 2
    for name, bodies in {
        "embed": (frame, embedding, 1),
        "predict, a click": (embedding + 256 * 256 * 4, mask, 1),
        "segment, a click": (frame + embedding + 256 * 256 * 4, embedding + mask, 2),
        "predict, 64 clicks": (4 * (embedding + 256 * 256 * 4), 64 * mask, 4),
        "generate, 4 points, in the client": (
            frame + embedding + 256 * 256 * 4,
            embedding + 4 * mask,
            2,
        ),
    }.items():
        sent, received, requests = calls[name]
        # Frames, and what gRPC says of the flow of long answers, as often as it sees fit.
        around = 4096 + sum(bodies[:2]) // 500
        assert bodies[0] <= sent < bodies[0] + around, name
        assert bodies[1] <= received < bodies[1] + around, name
        assert requests == bodies[2], name


def test_shared_memory(run_benchmark: Run) -> None:
    lines = run_benchmark("wire.shared_memory", "--rounds", 1).splitlines()[1:]
    assert len(lines) == 8
    for sent, received in (re.findall(r"[\d,]{2,}(?= )", line)[-2:] for line in lines[1::2]):
        assert int(sent.replace(",", "")) < 8192 and int(received.replace(",", "")) < 8192


def test_soak(run_benchmark: Run) -> None:
    report = json.loads(run_benchmark("soak", "--clients", 4, "--requests", 20, "--faults", 1))
    assert report["lost"] == 0 and sum(report["outcomes"].values()) == 20
    assert report["outcomes"]["right"] > 10 and "OK" not in report["hostile"]


def test_busy_clicks(run_benchmark: Run) -> None:
    text = run_benchmark("busy_clicks", "--points", 8, "--points-per-side", 4)
    assert re.match(r"8 points in a call: a click [\d.]+ s alone, [\d.]+ s \(largest ", text)


def test_layers(run_benchmark: Run) -> None:
    options = ("decoder", "--prompts", 1, "--rounds", 1)
    first, *rest = run_benchmark("layers", *options).splitlines()
    assert re.fullmatch(r"slimsam-77, decoder: \d+\.\d{3} s", first)
    end = rest.index("", 1)
    kinds, nodes = rest[1:end], rest[end + 1 :]
    shares = [float(re.findall(r" ([\d.]+)%  \w+, \w+", line)[0]) for line in kinds]
    assert 95 < sum(shares) <= 100.5 and shares == sorted(shares, reverse=True)
    # Which nodes are the slowest, and what the runtime makes of them, is the processor's affair.
    shares = [float(re.findall(r" ms +([\d.]+)%  \S", line)[0]) for line in nodes]
    assert len(shares) == 20 and shares == sorted(shares, reverse=True) and sum(shares) <= 100.5
