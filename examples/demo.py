"""`make demo`: build from the demo checkpoint, serve, segment one picture three times."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from slimsam_client import Prediction, SlimSam, draw_overlay, load_image
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[1]
REPOSITORY = ROOT / "model_repository"
OUTPUT = ROOT / "demo-output"
IMAGE = ROOT / "examples" / "scene.png"
CLICK = (228, 312)
BOX = (839, 343, 1024, 520)


def main() -> None:
    """Run the demo."""
    started = time.perf_counter()
    artefacts = [REPOSITORY / f"slimsam_{part}/1/model.xml" for part in ("encoder", "decoder")]
    if all(artefact.exists() for artefact in artefacts):
        print(f"using the artefacts in {REPOSITORY.relative_to(ROOT)} that an earlier build made")
    else:
        print("building the model repository from the demo checkpoint (target openvino)")
        command = [Path(sys.executable).parent / "slimsam-build", "--checkpoint", "demo"]
        command += ["--target", "openvino", "--model-repository", REPOSITORY]
        if status := subprocess.run(command, check=False).returncode:
            sys.exit(status)

    print("starting tritonserver on free loopback ports")
    with EmbeddedServer(REPOSITORY) as server, SlimSam(server.grpc_url) as sam:
        print(f"  gRPC {server.grpc_url}, metrics {server.metrics_url}")
        OUTPUT.mkdir(exist_ok=True)
        image = load_image(IMAGE)

        start = time.perf_counter()
        embedding = sam.embed(image)
        report("embed the picture", start)

        start = time.perf_counter()
        click = sam.predict(embedding, points=[CLICK])
        report("a click", start, click, draw(image, click, "click", points=[CLICK]))

        start = time.perf_counter()
        box = sam.predict(embedding, box=BOX, multimask_output=False)
        report("a box", start, box, draw(image, box, "box", box=BOX))

        start = time.perf_counter()
        refined = sam.predict(
            embedding,
            points=[CLICK],
            mask_input=click.low_res_logits[click.best],
            multimask_output=False,
        )
        path = draw(image, refined, "refined", points=[CLICK])
        report("the click again, refining its first answer", start, refined, path)
    print(f"server stopped; all in {time.perf_counter() - started:.1f} s")


def draw(image: np.ndarray, prediction: Prediction, name: str, **prompts: object) -> Path:
    """Write the best mask over the image."""
    path = OUTPUT / f"{name}.png"
    draw_overlay(image, prediction.best_masks, **prompts).save(path)
    return path


def report(
    what: str, start: float, prediction: Prediction | None = None, path: Path | None = None
) -> None:
    """Say what was done, how long it took and where the picture is."""
    line = f"  {what}: {time.perf_counter() - start:.3f} s"
    if prediction is not None and path is not None:
        line += (
            f", {int(prediction.best_masks.sum())} pixels, score {prediction.scores.max():.2f}"
            f" -> {path.relative_to(ROOT)}"
        )
    print(line)


if __name__ == "__main__":
    main()
