"""`make demo`: build, serve, segment one picture three times.

    python examples/demo.py                                  # as `make demo`
    python examples/demo.py --checkpoint DIR --image photo.jpg

The options' values come from `CHECKPOINT=` and `IMAGE=`; an empty one is as none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from artifacts import REPOSITORY, ROOT, prepare

from slimsam_client import Prediction, SlimSam, draw_overlay, load_image
from slimsam_server import EmbeddedServer

Result = TypeVar("Result")
Pixels = npt.NDArray[np.uint8]
OUTPUT = ROOT / "demo-output"
IMAGE = ROOT / "examples" / "scene.png"
SCENE_CLICK, SCENE_BOX = (914, 256), (411, 463, 673, 619)
"""What to click on in that picture; in another, its middle."""


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="Build, serve, segment one picture three times.")
    parser.add_argument(
        "--checkpoint", metavar="NAME", help="demo, a directory, or an id on the hub"
    )
    parser.add_argument("--image", metavar="FILE", help="a picture; default: a drawn scene")
    options = parser.parse_args()
    started = time.perf_counter()
    image = load_image(options.image or IMAGE)
    prepare(options.checkpoint or None)
    height, width = image.shape[:2]
    point, corners = SCENE_CLICK, SCENE_BOX
    if options.image:
        point = width // 2, height // 2
        corners = width // 4, height // 4, 3 * width // 4, 3 * height // 4

    print("starting tritonserver on free loopback ports")
    with EmbeddedServer(REPOSITORY) as server, SlimSam(server.grpc_url) as sam:
        print(f"  gRPC {server.grpc_url}, metrics {server.metrics_url}")
        OUTPUT.mkdir(exist_ok=True)

        embedding, seconds = timed(lambda: sam.embed(image))
        print(f"  embed the picture: {seconds:.3f} s")

        click, seconds = timed(lambda: sam.predict(embedding, points=[point]))
        path = draw(image, click, "click", points=[point])
        report("a click", seconds, click, path)

        box, seconds = timed(lambda: sam.predict(embedding, box=corners, multimask_output=False))
        path = draw(image, box, "box", box=corners)
        report("a box", seconds, box, path)

        refined, seconds = timed(
            lambda: sam.predict(
                embedding,
                points=[point],
                mask_input=click.best_logits,
                multimask_output=False,
            )
        )
        path = draw(image, refined, "refined", points=[point])
        report("the click again, refining its first answer", seconds, refined, path)
    print(f"server stopped; all in {time.perf_counter() - started:.1f} s")
    print("to click in pictures of your own: make web")


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """The call's result and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def draw(image: Pixels, prediction: Prediction, name: str, **prompts: Any) -> Path:
    """Write the best mask over the image."""
    path = OUTPUT / f"{name}.png"
    draw_overlay(image, prediction.best_masks, **prompts).save(path)
    return path


def report(what: str, seconds: float, prediction: Prediction, path: Path) -> None:
    """Say what was done, how long it took and where the picture is."""
    pixels, score = int(prediction.best_masks.sum()), prediction.scores.max()
    where = path.relative_to(ROOT)
    print(f"  {what}: {seconds:.3f} s, {pixels} pixels, score {score:.2f} -> {where}")


if __name__ == "__main__":
    main()
