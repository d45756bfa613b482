"""`make demo`: build from the demo checkpoint, serve, segment one picture three times."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from slimsam_client import Prediction, SlimSam, draw_overlay, load_image
from slimsam_server import EmbeddedServer

Result = TypeVar("Result")
Pixels = npt.NDArray[np.uint8]
ROOT = Path(__file__).parents[1]
REPOSITORY = ROOT / "model_repository"
OUTPUT = ROOT / "demo-output"
IMAGE = ROOT / "examples" / "scene.png"
CLICK = (914, 256)
BOX = (411, 463, 673, 619)


def main() -> None:
    """Run the demo."""
    started = time.perf_counter()
    artifacts = [REPOSITORY / f"slimsam_{part}/1/model.xml" for part in ("encoder", "decoder")]
    if all(artifact.exists() for artifact in artifacts):
        print(f"using the artifacts in {REPOSITORY.relative_to(ROOT)} that an earlier build made")
    else:
        print("building the model repository from the demo checkpoint (target openvino)")
        program = str(Path(sys.executable).parent / "slimsam-build")
        command: list[str | Path] = [program, "build", "--checkpoint", "demo"]
        command += ["--target", "openvino", "--model-repository", REPOSITORY]
        if status := subprocess.run(command, check=False).returncode:
            sys.exit(status)

    print("starting tritonserver on free loopback ports")
    with EmbeddedServer(REPOSITORY) as server, SlimSam(server.grpc_url) as sam:
        print(f"  gRPC {server.grpc_url}, metrics {server.metrics_url}")
        OUTPUT.mkdir(exist_ok=True)
        image = load_image(IMAGE)

        embedding, seconds = timed(lambda: sam.embed(image))
        print(f"  embed the picture: {seconds:.3f} s")

        click, seconds = timed(lambda: sam.predict(embedding, points=[CLICK]))
        path = draw(image, click, "click", points=[CLICK])
        report("a click", seconds, click, path)

        box, seconds = timed(lambda: sam.predict(embedding, box=BOX, multimask_output=False))
        path = draw(image, box, "box", box=BOX)
        report("a box", seconds, box, path)

        refined, seconds = timed(
            lambda: sam.predict(
                embedding,
                points=[CLICK],
                mask_input=click.best_logits,
                multimask_output=False,
            )
        )
        path = draw(image, refined, "refined", points=[CLICK])
        report("the click again, refining its first answer", seconds, refined, path)
    print(f"server stopped; all in {time.perf_counter() - started:.1f} s")


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
