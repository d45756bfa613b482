"""Where an OpenVINO artifact's time goes: `python -m benchmarks.layers encoder`, or `decoder`.

The runtime's own counters of one call, by kind of node, and the nodes that take longest. With
`GLIBC_TUNABLES=glibc.malloc.hugetlb=1` before the command, large buffers lie in large pages, as
those of `slimsam-serve` do.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch

from slimsam_build.random_checkpoint import GEOMETRIES, random_checkpoint
from slimsam_build.targets import TARGETS
from slimsam_client.contract import DECODER, ENCODER
from slimsam_client.prompts.encode import encode_prompts, prompt_arrays

LARGEST = 20
"""Nodes that are printed by name."""


def main() -> None:
    """Export, run and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.layers", description=__doc__.splitlines()[0]
    )
    parser.add_argument("graph", choices=("encoder", "decoder"))
    parser.add_argument("--geometry", default="slimsam-77", choices=GEOMETRIES)
    parser.add_argument("--prompts", type=int, default=16, help="of the decoder's call")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    options = parser.parse_args()
    model = random_checkpoint(options.geometry)
    encoder = options.graph == "encoder"
    target = TARGETS["openvino"]
    spec = ENCODER if encoder else DECODER
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / target.artifact
        target.export(target.graphs[spec](model).eval(), spec, path, "fp32")
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(path, "CPU", {**settings, "PERF_COUNT": True})
    request = compiled.create_infer_request()
    arrays = encoder_inputs() if encoder else decoder_inputs(options.prompts)
    rows = [arrays[tensor.name][None] for tensor in spec.inputs]
    request.infer(rows)
    seconds = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        request.infer(rows)
        seconds.append(time.perf_counter() - start)
    print(f"{options.geometry}, {options.graph}: {statistics.median(seconds):.3f} s")
    report(request.get_profiling_info())


def encoder_inputs() -> dict[str, Any]:
    """An image that fills the frame."""
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    return {"image": image, "input_size": np.array([1024, 1024], np.int32)}


def decoder_inputs(prompts: int) -> dict[str, Any]:
    """Clicks on an embedding."""
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((256, 64, 64)).astype(np.float16)
    clicks = encode_prompts((1024, 1024), (1024, 1024), rng.uniform(0, 1024, (prompts, 1, 2)))
    return {"image_embeddings": embedding, **prompt_arrays(clicks)}


def report(nodes: list[Any]) -> None:
    """Print shares of the time of all nodes."""
    taken = [(node, node.real_time.total_seconds()) for node in nodes]
    total = sum(seconds for _, seconds in taken)
    kinds: dict[str, float] = defaultdict(float)
    for node, seconds in taken:
        kinds[f"{node.node_type}, {node.exec_type}"] += seconds
    print()
    for kind, seconds in sorted(kinds.items(), key=lambda pair: -pair[1]):
        if seconds > total / 1000:
            print(f"{seconds * 1e3:9.1f} ms {seconds / total:6.1%}  {kind}")
    print()
    for node, seconds in sorted(taken, key=lambda pair: -pair[1])[:LARGEST]:
        print(f"{seconds * 1e3:9.1f} ms {seconds / total:6.1%}  {node.node_name}")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
