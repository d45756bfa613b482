"""How long a click waits while somebody else's everything request runs on the server.

    python benchmarks/busy_clicks.py

One picture, 1024 points, in the server's model; clicks on a kept embedding meanwhile, one after
another. The same clicks before it, with nothing else to do, are what they are compared with.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from repository import copy_configurations
from skimage import data

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.repository import build
from slimsam_client import GenerateSettings, SlimSam
from slimsam_server import EmbeddedServer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, nargs="+", default=[64, 16], help="in one call")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        repository = copy_configurations(Path(name))
        build(load_checkpoint("demo"), "openvino", "fp32", repository, say=lambda line: None)
        config = repository / "slimsam_automatic" / "configs" / "openvino.pbtxt"
        text = config.read_text()
        for points in options.points:
            config.write_text(text.replace('string_value: "16"', f'string_value: "{points}"'))
            with EmbeddedServer(repository) as server, SlimSam(server.grpc_url, 600) as sam:
                report(sam, points)


def report(sam: SlimSam, points: int) -> None:
    """Print both medians for calls of so many points."""
    image = data.astronaut()
    embedding = sam.embed(image)

    def click() -> float:
        start = time.perf_counter()
        sam.predict(embedding, points=[(250, 200)])
        return time.perf_counter() - start

    click()
    idle = [click() for _ in range(20)]
    seconds: list[float] = []

    def everything() -> None:
        start = time.perf_counter()
        sam.generate(image, GenerateSettings(), on_server=True)
        seconds.append(time.perf_counter() - start)

    start = time.perf_counter()
    everything()
    alone = time.perf_counter() - start
    thread = threading.Thread(target=everything)
    thread.start()
    busy = []
    while thread.is_alive():
        busy.append(click())
    print(
        f"{points} points in a call: a click {np.median(idle):.3f} s alone, "
        f"{np.median(busy):.3f} s (largest {max(busy):.3f}) beside everything mode, which takes "
        f"{alone:.1f} s alone and {seconds[-1]:.1f} s beside {len(busy)} clicks"
    )


if __name__ == "__main__":
    main()
