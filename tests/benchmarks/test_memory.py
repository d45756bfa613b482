"""`benchmarks/memory.py`: what it reads of a process, and a run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from memory import growth
from memory_client import WORKLOADS
from resident_memory import peak_mib, reset_peak, resident_mib

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

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

        small, large = hold(1), hold(201)
        assert large - small == pytest.approx(200, abs=5)
        assert hold(1) == pytest.approx(small, abs=5)
        # While the new bytes are made, the old ones are still there.
        assert peak_mib([process.pid]) == pytest.approx(large, abs=5)
        reset_peak([process.pid])
        assert peak_mib([process.pid]) == pytest.approx(small, abs=5)
        assert resident_mib([process.pid, process.pid]) == pytest.approx(2 * small, abs=5)
        print("end", file=process.stdin, flush=True)


def test_growth() -> None:
    filling = [10.0, 50.0, 90.0] + [100.0] * 97
    assert growth(filling) == 0
    assert growth([mib + number for number, mib in enumerate(filling)]) == 50
    assert growth([5.0, 5.0, 5.0, 7.5]) == 2.5


@pytest.mark.slow
def test_a_run(tmp_path: Path) -> None:
    output = tmp_path / "results" / "memory.json"
    done = subprocess.run(
        [
            sys.executable, BENCHMARKS / "memory.py", "--requests", "4",
            "--everything-requests", "8", "--points-per-side", "2", "--output", output,
        ],
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == list(WORKLOADS)
    found = json.loads(output.read_text())
    for name in WORKLOADS:
        for side in (found[name]["client"], found[name]["server"]):
            assert len(side["mib"]) == found[name]["requests"]
            # /proc counts a process's pages in batches of a few dozen, so now may be above peak.
            assert 10 < max(side["mib"]) < side["peak_mib"] + 2
    # Four masks of 64 clicks: 32 MiB of float16 on the wire, the logits, and masks in full size.
    assert found["predict"]["client"]["peak_mib"] > found["embed"]["client"]["peak_mib"] + 32
    assert found["embed"]["client"]["peak_mib"] < found["embed"]["server"]["peak_mib"]
