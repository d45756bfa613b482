"""Everything mode on the server, with NumPy making the masks and with slimsam_masks.

    python -m benchmarks.everything_masks

One picture in two sizes, two servers of the same artifacts, asked in turn. Thresholds are the
demo checkpoint's own, at which it keeps a dozen masks and most of its points' masks are measured.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from PIL import Image
from skimage import data
from tritonclient.grpc.model_config_pb2 import ModelConfig

from benchmarks.repository import built_repository
from slimsam_build.checkpoints import load_checkpoint
from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.contract import AUTOMATIC
from slimsam_client.serving.automatic import IN_GRAPH, IN_NUMPY
from slimsam_server import EmbeddedServer
from slimsam_server.targets import SERVED_HERE


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.everything_masks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--target", default="openvino", choices=SERVED_HERE)
    parser.add_argument("--backends", type=Path, help="Triton's own; default: stand-ins")
    parser.add_argument("--points-per-side", type=int, default=16, help="of everything mode's grid")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1536], help="of the picture")
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turn")
    options = parser.parse_args()
    settings = GenerateSettings(
        options.points_per_side, pred_iou_thresh=0.75, stability_score_thresh=0.85
    )
    with built_repository(load_checkpoint("demo"), options.target) as repository, ExitStack() as on:
        clients = {}
        for maker in (IN_NUMPY, IN_GRAPH):
            served = shutil.copytree(repository, repository.with_name(maker))
            _make_masks_by(served, maker)
            server = EmbeddedServer(served, options.target, backends=options.backends)
            url = on.enter_context(server).grpc_url
            clients[maker] = on.enter_context(SlimSam(url, 600))
        for side in options.sides:
            picture = np.asarray(Image.fromarray(data.astronaut()).resize((side, side)))
            _report(clients, picture, settings, options.rounds)


def _make_masks_by(repository: Path, maker: str) -> None:
    """Say in every configuration of everything mode what makes the masks."""
    for path in (repository / AUTOMATIC.name).glob("**/*.pbtxt"):
        config = text_format.Parse(path.read_text("utf-8"), ModelConfig())
        config.parameters["masks_by"].string_value = maker
        path.write_text(text_format.MessageToString(config))


def _report(
    clients: dict[str, SlimSam],
    picture: np.ndarray,  # type: ignore[type-arg]
    settings: GenerateSettings,
    rounds: int,
) -> None:
    """Print both medians and their ratio."""
    seconds: dict[str, list[float]] = {maker: [] for maker in clients}
    found: dict[str, int] = {}
    for number in range(rounds + 1):
        for maker, sam in clients.items():
            start = time.perf_counter()
            found[maker] = len(sam.generate(picture, settings, on_server=True))
            if number:  # the first one warms up
                seconds[maker].append(time.perf_counter() - start)
    medians = {maker: statistics.median(values) for maker, values in seconds.items()}
    height, width = picture.shape[:2]
    print(
        f"{width} x {height}, {settings.points_per_side**2} points: "
        + ", ".join(f"{maker} {medians[maker]:.2f} s, {found[maker]} masks" for maker in clients)
        + f"; {medians[IN_GRAPH] / medians[IN_NUMPY]:.2f} times as long with {IN_GRAPH}",
        flush=True,
    )


if __name__ == "__main__":
    main()
