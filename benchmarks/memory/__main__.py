"""How much memory server and client take, and whether it grows: `python -m benchmarks.memory`.

For each workload a new client process sends requests one after another to a new server, and what
both hold is read after each request. Everything mode on the server runs longest, 500 requests: a
leak of a few KiB in each would show.

Printed as a table, and written to benchmarks/results/memory/<machine>.json; a workload that is
measured again takes its place there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine
from benchmarks.memory.client import WORKLOADS
from benchmarks.repository import built_repository
from benchmarks.resident_memory import peak_mib, reset_peak, resident_mib
from slimsam_build.checkpoints import load_checkpoint
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "memory"
SAMPLES = 50
"""Of each workload in the JSON file, evenly spaced."""
HEADER = (
    f"{'':20}{'':>10}{'client MiB':^28}{'server MiB':^28}\n"
    f"{'workload':20}{'requests':>10}" + f"{'before':>9}{'peak':>9}{'growth':>10}" * 2
)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoint", default="demo", help="default: %(default)s")
    add("--target", default="openvino", help="default: %(default)s")
    add("--workloads", nargs="+", default=WORKLOADS, choices=WORKLOADS, metavar="WORKLOAD")
    add("--requests", type=int, default=20, help="of each workload but the last")
    add("--everything-requests", type=int, default=500, help="of the last, generate_on_server")
    add("--points-per-side", type=int, default=8, help="of everything mode; default: %(default)s")
    add("--output", type=Path, help="a .json file; default: the machine's")
    options = parser.parse_args()
    if min(options.requests, options.everything_requests) < 4:
        parser.error("expected at least 4 requests, to compare their quarters")
    output = options.output or RESULTS / f"{this_machine().file_name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(output.read_text()) if output.exists() else {}
    checkpoint = load_checkpoint(options.checkpoint)
    with built_repository(checkpoint, options.target) as repository:
        print(HEADER)
        for workload in options.workloads:
            last = workload == "generate_on_server"
            count = options.everything_requests if last else options.requests
            with EmbeddedServer(repository, options.target) as server:
                measured = measure(server, workload, count, options.points_per_side)
            found[workload] = {
                "checkpoint": Path(options.checkpoint).name,
                "target": options.target,
                "points_per_side": options.points_per_side,
                **measured,
            }
            print(row(workload, measured), flush=True)
            output.write_text(json.dumps(found, indent=1) + "\n")


def measure(
    server: EmbeddedServer, workload: str, requests: int, points_per_side: int
) -> dict[str, Any]:
    """Have a client send requests, and read memory after each."""
    client_module = [sys.executable, "-m", "benchmarks.memory.client"]
    processes = server.processes()
    before = resident_mib(processes)
    reset_peak(processes)
    client_mib, server_mib = [], []
    with subprocess.Popen(
        [*client_module, server.grpc_url, workload, str(requests), str(points_per_side)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as client:  # fmt: skip
        assert client.stdout is not None
        lines = map(json.loads, client.stdout)
        for line in lines:
            if "client_mib" not in line:
                break
            client_mib.append(line["client_mib"])
            server_mib.append(resident_mib(processes))
    if client.returncode != 0:
        sys.exit(f"{workload}: expected {requests} requests, got {len(client_mib)} and status "
                 f"{client.returncode}")  # fmt: skip
    step = max(requests // SAMPLES, 1)
    return {
        "requests": requests,
        "client": {
            **line,
            "growth_mib": growth(client_mib),
            "mib": client_mib[step - 1 :: step],
        },
        "server": {
            "before_mib": before,
            "peak_mib": peak_mib(processes),
            "growth_mib": growth(server_mib),
            "mib": server_mib[step - 1 :: step],
        },
    }


def growth(mib: list[float]) -> float:
    """By how much the last quarter of the requests is above the second, by their medians.

    The first quarter is left out: caches fill, and allocators reach their size.
    """
    quarter = len(mib) // 4
    return round(
        statistics.median(mib[-quarter:]) - statistics.median(mib[quarter : 2 * quarter]), 1
    )


def row(workload: str, found: dict[str, Any]) -> str:
    """One workload as a line under `HEADER`."""
    cells = "".join(
        f"{side['before_mib']:9.0f}{side['peak_mib']:9.0f}{side['growth_mib']:+10.1f}"
        for side in (found["client"], found["server"])
    )
    return f"{workload:20}{found['requests']:10}{cells}"


if __name__ == "__main__":
    main()
