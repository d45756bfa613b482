"""The benchmarks run, at their smallest: what they measure needs a machine of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def output_of(name: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / name, *options], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wire_bytes() -> None:
    lines = output_of("wire_bytes.py", "--points-per-side", "2").splitlines()[3:]
    found = [re.fullmatch(r"(.+?) +([\d,]+) +([\d,]+) +(\d+)", line) for line in lines]
    calls = {
        row[1]: [int(text.replace(",", "")) for text in row.groups()[1:]] for row in found if row
    }
    assert len(calls) == len(lines) == 8
    frame, embedding, mask = 1024 * 1024 * 3, 256 * 64 * 64 * 2, 4 * 256 * 256 * 2
    for name, bodies in {
        "embed": (frame, embedding, 1),
        "predict, a click": (embedding + 256 * 256 * 4, mask, 1),
        "segment, a click": (frame + 256 * 256 * 4, mask, 1),
        "predict, 64 clicks": (embedding + 256 * 256 * 4, 64 * mask, 1),
        "generate, 4 points, in the client": (
            frame + embedding + 256 * 256 * 4,
            embedding + 4 * mask,
            2,
        ),
    }.items():
        sent, received, requests = calls[name]
        assert bodies[0] <= sent < bodies[0] + 4096, name
        assert bodies[1] <= received < bodies[1] + 4096, name
        assert requests == bodies[2], name


def test_shared_memory() -> None:
    lines = output_of("shared_memory.py", "--rounds", "1").splitlines()[1:]
    assert len(lines) == 8
    for sent, received in (re.findall(r"[\d,]{2,}(?= )", line)[-2:] for line in lines[1::2]):
        assert int(sent.replace(",", "")) < 8192 and int(received.replace(",", "")) < 8192


def test_soak() -> None:
    report = json.loads(output_of("soak.py", "--clients", "4", "--requests", "20"))
    assert report["lost"] == 0 and sum(report["outcomes"].values()) == 20


def test_busy_clicks() -> None:
    text = output_of("busy_clicks.py", "--points", "16", "--points-per-side", "8")
    assert re.match(r"16 points in a call: a click [\d.]+ s alone, [\d.]+ s \(largest ", text)


def test_layers() -> None:
    first, *rest = output_of("layers.py", "decoder", "--prompts", "1", "--rounds", "1").splitlines()
    assert re.fullmatch(r"slimsam-77, decoder: \d+\.\d{3} s", first)
    kinds = rest[1 : rest.index("", 1)]
    shares = [float(re.findall(r" ([\d.]+)%  \w+, \w+", line)[0]) for line in kinds]
    assert 95 < sum(shares) <= 100.5 and shares == sorted(shares, reverse=True)
    assert any("final_attention" in line for line in rest)
