"""What follows the decoder in everything mode, in NumPy and in slimsam_masks' graph on a CPU.

    python -m benchmarks.everything_masks
    python -m benchmarks.everything_masks --served 8 32     # points along a side

One call's logits, 16 points with three masks each, which are waves that fill the picture, the worst
case for NumPy. NumPy works on those masks alone whose predicted IoU passes, the graph on all. With
`--served`, everything mode whole, as the server does it with one and with the other.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.repository import built_repository, set_masks_by
from benchmarks.scene_pictures import new_picture
from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.masks_parity import sample_inputs
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Run
from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.contract import MASKS, MAX_PROMPTS, NUM_MASKS
from slimsam_client.everything.candidates import find_candidates
from slimsam_client.image.load import resized_size
from slimsam_client.serving.automatic import IN_GRAPH, IN_NUMPY
from slimsam_server import EmbeddedServer

SETTINGS = GenerateSettings(pred_iou_thresh=0.5, stability_score_thresh=0)
ALL = MAX_PROMPTS * (NUM_MASKS - 1)
TIMEOUT = 600.0
"""Seconds that the client waits."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.everything_masks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--target", default="onnxruntime", choices=("onnxruntime", "openvino"))
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024], help="of the picture")
    parser.add_argument("--pass", type=int, nargs="+", default=[ALL, ALL // 4], dest="passing")
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turn")
    parser.add_argument(
        "--served", type=int, nargs="+", metavar="SIDE", help="points along a side of the grid"
    )
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    if options.served:
        _report_served(options.target, options.served, options.rounds)
        return
    target = TARGETS[options.target]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / target.artifact
        graph = target.graphs[MASKS](load_checkpoint("demo").model).eval()
        target.export(graph, MASKS, path, "fp32")
        run = target.load(path, MASKS, "fp32")
        for side in options.sides:
            for passing in options.passing:
                _report(run, side, passing, options.rounds)


def _report(run: Run, side: int, passing: int, rounds: int) -> None:
    """Print both medians and their ratio."""
    inputs = sample_inputs((side, side), prompts=MAX_PROMPTS)
    inputs["chosen"] = np.zeros((1, 1), np.int32)
    scores = np.zeros((MAX_PROMPTS, NUM_MASKS), np.float32)
    scores[:, 1:] = (np.arange(ALL) < passing).reshape(MAX_PROMPTS, -1)
    answer = {"low_res_masks": inputs["low_res_masks"][0], "iou_predictions": scores}
    points, size = np.full((MAX_PROMPTS, 2), side / 2), (side, side)
    in_numpy, in_graph = [], []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        find_candidates(answer, points, (0, 0, *size), resized_size(*size), size, SETTINGS)
        between = time.perf_counter()
        run(inputs)
        in_numpy.append(between - start)
        in_graph.append(time.perf_counter() - between)
    first, second = (statistics.median(times[1:]) for times in (in_numpy, in_graph))
    print(
        f"{side} x {side}, {passing} of {ALL} pass: NumPy {first:.2f} s, graph {second:.2f} s; "
        f"{second / first:.1f} times as long",
        flush=True,
    )


def _report_served(target: str, sides: list[int], rounds: int) -> None:
    """Print the medians of everything mode on servers of both kinds, which run by turns."""
    seconds: dict[tuple[str, int], list[float]] = {}
    found: dict[tuple[str, int], int] = {}
    with built_repository(load_checkpoint("demo"), target) as repository:
        for masks_by in (IN_NUMPY, IN_GRAPH) * 2:
            set_masks_by(repository, masks_by)
            with (
                EmbeddedServer(repository, target) as server,
                SlimSam(server.grpc_url, timeout=TIMEOUT) as sam,
            ):
                picture = new_picture()
                sam.upload(picture)  # so that none of them encodes it
                for side in sides:
                    settings, times = GenerateSettings(points_per_side=side), []
                    for _ in range(rounds + 1):
                        start = time.perf_counter()
                        records = sam.generate(picture, settings, on_server=True)
                        times.append(time.perf_counter() - start)
                    seconds.setdefault((masks_by, side), []).extend(times[1:])
                    found[masks_by, side] = len(records)
    for side in sides:
        first, second = (statistics.median(seconds[by, side]) for by in (IN_NUMPY, IN_GRAPH))
        counts = " and ".join(str(found[by, side]) for by in (IN_NUMPY, IN_GRAPH))
        print(
            f"{side} x {side} points, {counts} masks: NumPy {first:.2f} s, graph {second:.2f} s; "
            f"{second / first:.2f} times as long",
            flush=True,
        )


if __name__ == "__main__":
    main()
