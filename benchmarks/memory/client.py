"""A client whose memory is measured: a process of its own, with the SDK alone in it.

`benchmarks.memory` starts it, and reads one JSON object per request from it, and one at its end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.resident_memory import peak_mib, reset_peak, resident_mib
from slimsam_client import GenerateSettings, SlimSam

IMAGE: Final = Path(__file__).parents[2] / "examples" / "scene.png"
CLICKS: Final = 64
WORKLOADS: Final = ("embed", "predict", "segment", "generate_in_client", "generate_on_server")


def main() -> None:
    """Send requests one after another and say after each what this process holds."""
    parser = argparse.ArgumentParser("python -m benchmarks.memory.client", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("requests", type=int)
    parser.add_argument("points_per_side", type=int)
    options = parser.parse_args()
    with SlimSam(options.url, timeout=600) as sam:
        request = requests(sam, options.points_per_side)[options.workload]
        before = resident_mib(["self"])
        reset_peak(["self"])
        for _ in range(options.requests):
            request()
            print(json.dumps({"client_mib": resident_mib(["self"])}), flush=True)
        print(json.dumps({"before_mib": before, "peak_mib": peak_mib(["self"])}), flush=True)


def requests(sam: SlimSam, points_per_side: int) -> dict[str, Callable[[], object]]:
    """Each workload's request, on one image; `predict` has its embedding already."""
    settings = GenerateSettings(points_per_side)
    embedding = sam.embed(IMAGE)
    height, width = embedding.original_size
    clicks = np.random.default_rng(0).uniform(0, (width, height), (CLICKS, 1, 2))
    return {
        "embed": lambda: sam.embed(IMAGE),
        "predict": lambda: sam.predict(embedding, points=clicks),
        "segment": lambda: sam.segment(IMAGE, points=clicks[0]),
        "generate_in_client": lambda: sam.generate(IMAGE, settings),
        "generate_on_server": lambda: sam.generate(IMAGE, settings, on_server=True),
    }


if __name__ == "__main__":
    main()
