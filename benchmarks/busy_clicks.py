"""How long a click waits while somebody else's everything request runs on the server.

    python -m benchmarks.busy_clicks

One picture, 1024 points, in the server's model; clicks on a kept embedding meanwhile, one after
another. The same clicks before it, with nothing else to do, are what they are compared with.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from google.protobuf import text_format
from skimage import data
from tritonclient.grpc.model_config_pb2 import ModelConfig

from benchmarks.repository import built_repository
from slimsam_build.checkpoints import load_checkpoint
from slimsam_client import GenerateSettings, SlimSam
from slimsam_server import EmbeddedServer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.busy_clicks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--points", type=int, nargs="+", default=[16, 8], help="in one call")
    parser.add_argument("--points-per-side", type=int, default=32, help="of everything mode's grid")
    options = parser.parse_args()
    settings = GenerateSettings(options.points_per_side)
    with built_repository(load_checkpoint("demo")) as repository:
        path = repository / "slimsam_automatic" / "configs" / "openvino.pbtxt"
        config = text_format.Parse(path.read_text(), ModelConfig())
        for points in options.points:
            config.parameters["max_points_per_batch"].string_value = str(points)
            path.write_text(text_format.MessageToString(config))
            with EmbeddedServer(repository) as server, SlimSam(server.grpc_url, 600) as sam:
                report(sam, settings, points)


def report(sam: SlimSam, settings: GenerateSettings, points: int) -> None:
    """Print both medians for calls of so many points."""
    image = data.astronaut()
    embedding = sam.embed(image)

    def click() -> float:
        start = time.perf_counter()
        sam.predict(embedding, points=[(250, 200)])
        return time.perf_counter() - start

    def everything() -> float:
        start = time.perf_counter()
        sam.generate(image, settings, on_server=True)
        return time.perf_counter() - start

    click()
    idle = [click() for _ in range(20)]
    alone = everything()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(everything)
        busy = [click()]
        while not running.done():
            busy.append(click())
    print(
        f"{points} points in a call: a click {np.median(idle):.3f} s alone, "
        f"{np.median(busy):.3f} s (largest {max(busy):.3f}) beside everything mode, which takes "
        f"{alone:.1f} s alone and {running.result():.1f} s beside {len(busy)} clicks"
    )


if __name__ == "__main__":
    main()
