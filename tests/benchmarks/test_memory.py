"""`benchmarks.memory`: what it reads of a process, and a run of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks.memory import __main__ as memory
from benchmarks.memory.__main__ import growth
from benchmarks.memory.client import WORKLOADS
from benchmarks.resident_memory import peak_mib, reset_peak, resident_mib
from slimsam_server import EmbeddedServer

UNCOUNTED_MIB = 5 + max(32, 2 * (os.cpu_count() or 1)) * (os.cpu_count() or 1) / 256
"""Pages of 4 KiB that each processor may keep to itself before /proc counts them."""
HELD_MIB = 200 + 2 * UNCOUNTED_MIB

HOLDER = """
held = None
for line in iter(input, "end"):
    held = bytearray(b"x") * (int(line) << 20)
    print("done", flush=True)
"""
"""A process that holds as many MiB as it is told."""


def test_memory_of_a_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def hold(mib: int) -> float:
            print(mib, file=process.stdin, flush=True)
            assert process.stdout is not None and process.stdout.readline() == "done\n"
            return resident_mib([process.pid])

        small, large = hold(1), hold(1 + round(HELD_MIB))
        assert large - small == pytest.approx(HELD_MIB, abs=UNCOUNTED_MIB)
        assert hold(1) == pytest.approx(small, abs=UNCOUNTED_MIB)
        # While the new bytes are made, the old ones are still there.
        assert peak_mib([process.pid]) == pytest.approx(large, abs=UNCOUNTED_MIB)
        reset_peak([process.pid])
        assert peak_mib([process.pid]) == pytest.approx(small, abs=UNCOUNTED_MIB)
        assert resident_mib([process.pid] * 2) == pytest.approx(2 * small, abs=2 * UNCOUNTED_MIB)
        print("end", file=process.stdin, flush=True)


def test_growth() -> None:
    filling = [10.0, 50.0, 90.0] + [100.0] * 97
    assert growth(filling) == 0
    assert growth([mib + number for number, mib in enumerate(filling)]) == 50
    assert growth([5.0, 5.0, 5.0, 7.5]) == 2.5


@pytest.mark.slow
def test_a_run(
    run_benchmark: Callable[..., str],
    demo_server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """On one server, which has been used before; by itself it starts one for each workload."""
    monkeypatch.setattr(memory, "EmbeddedServer", lambda *_: nullcontext(demo_server))
    output = tmp_path / "results" / "memory.json"
    printed = run_benchmark(
        "memory", "--requests", 4, "--everything-requests", 4, "--points-per-side", 2,
        "--output", output,
    )  # fmt: skip
    assert [line.split()[0] for line in printed.splitlines()[2:]] == list(WORKLOADS)
    found = json.loads(output.read_text())
    for name in WORKLOADS:
        for side in (found[name]["client"], found[name]["server"]):
            assert len(side["mib"]) == found[name]["requests"]
            assert 10 < max(side["mib"]) < side["peak_mib"] + UNCOUNTED_MIB
    # Four masks of 64 clicks: 32 MiB of float16 on the wire, the logits, and masks in full size,
    # which alone are 144 MiB.
    assert found["predict"]["client"]["peak_mib"] > found["embed"]["client"]["peak_mib"] + 64
    assert found["embed"]["client"]["peak_mib"] < found["embed"]["server"]["peak_mib"]
