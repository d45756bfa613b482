"""Counts the bytes that each kind of call sends and receives: `python -m benchmarks.wire`.

The client talks to a real server through a TCP relay that counts. What a connection costs to open,
and the first look at a model's metadata, are left out: every call is made twice, and the second one
counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.repository import built_repository
from benchmarks.wire.counting_relay import CountingRelay
from slimsam_build.checkpoints import load_checkpoint
from slimsam_client import GenerateSettings, SlimSam, load_image
from slimsam_client.contract import MAX_PROMPTS
from slimsam_client.image.load import ImageSource
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.wire", description=__doc__)
    parser.add_argument("--image", default=str(ROOT / "examples" / "scene.png"))
    parser.add_argument("--points-per-side", type=int, default=32, help="of everything mode's grid")
    options = parser.parse_args()
    with (
        built_repository(load_checkpoint("demo")) as repository,
        EmbeddedServer(repository) as server,
    ):
        relay = CountingRelay(server.grpc_url)
        with SlimSam(relay.url, timeout=600) as sam:
            pixels = load_image(options.image)
            size = Path(options.image).stat().st_size
            print(f"{options.image}: {pixels.shape[1]} x {pixels.shape[0]}, {size:,} bytes\n")
            print(f"{'call':44}{'sent':>14}{'received':>14}{'requests':>10}")
            for what, call in calls(sam, options.image, options.points_per_side):
                call()
                before = relay.sent, relay.received
                requests = call()
                sent, received = relay.sent - before[0], relay.received - before[1]
                print(f"{what:44}{sent:14,}{received:14,}{requests:10}")


def calls(sam: SlimSam, path: str, points_per_side: int) -> list[tuple[str, Callable[[], int]]]:
    """What to measure: a name, and the call, which returns its number of requests."""
    pixels = load_image(path)
    embedding = sam.embed(pixels)
    middle = [(pixels.shape[1] / 2, pixels.shape[0] / 2)]
    many = np.random.default_rng(0).uniform(1, min(pixels.shape[:2]) - 1, (64, 1, 2))
    logits = sam.predict(embedding, points=middle).low_res_logits[0]
    settings = GenerateSettings(points_per_side)

    def once(call: Callable[[], object], requests: int = 1) -> Callable[[], int]:
        return lambda: requests if call() is not None else 0

    def everything(source: ImageSource, on_server: bool) -> Callable[[], int]:
        def run() -> int:
            seen: list[int] = []
            sam.generate(source, settings, lambda done, _: seen.append(done), on_server)
            return len(seen)

        return run

    return [
        ("embed", once(lambda: sam.embed(pixels))),
        ("predict, a click", once(lambda: sam.predict(embedding, points=middle))),
        (
            "predict, a click and mask_input",
            once(lambda: sam.predict(embedding, points=middle, mask_input=logits)),
        ),
        (
            "predict, 64 clicks",
            once(lambda: sam.predict(embedding, points=many), -(-len(many) // MAX_PROMPTS)),
        ),
        ("segment, a click", once(lambda: sam.segment(pixels, points=middle), requests=2)),
        (f"generate, {points_per_side**2} points, in the client", everything(pixels, False)),
        (f"generate, {points_per_side**2} points, on the server, file", everything(path, True)),
        (f"generate, {points_per_side**2} points, on the server, array", everything(pixels, True)),
    ]


if __name__ == "__main__":
    main()
