"""What NVIDIA's builder makes of the graphs, without a GPU.

The graph that a CPU gets and the one that TensorRT gets, as ONNX in the same precision, for the
profiles that plans have: kernels, attentions among them, and memory. And for the shapes that each
profile is best for, fixed: bytes that the kernels read and write, each tensor once per kernel, and
floating point operations of products and attentions, a multiplication and an addition being two.

All of it is read from the builder's own list of kernels; nothing is run, and nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from transformers import SamModel

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.graphs import Decoder
from slimsam_build.random_checkpoint import GEOMETRIES, random_checkpoint
from slimsam_build.targets import FEWEST_OPERATIONS, FUSED, TARGETS
from slimsam_build.targets.target import Graphs
from slimsam_build.targets.tensorrt.builder import Recipe, Shapes
from slimsam_build.targets.tensorrt.plan import profile_shapes
from slimsam_build.targets.tensorrt.rehearsal import Kernel, missing, rehearse
from slimsam_client.contract import DECODER, ENCODER, ModelSpec

FORMS: Final[dict[str, Graphs]] = {
    # Without what serves any P and N, as TensorRT's goes without it.
    "for a CPU": {**FEWEST_OPERATIONS, DECODER: Decoder},
    "for TensorRT": FUSED,
}
ROWS: Final = 8
"""Of a full batch, as the configurations have it."""
BYTES: Final = {"Half": 2, "BFloat16": 2, "Float": 4, "Int32": 4, "Int64": 8, "Bool": 1, "UInt8": 1}
TENSOR: Final = re.compile(r"Dimensions: \[([-\d,]*)\].*?Datatype: (\w+)")


def main() -> int:
    """Build every form and profile, and print what each is made of."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.tensorrt_graphs", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--geometry", default="slimsam-77", choices=("demo", *GEOMETRIES))
    parser.add_argument("--precision", default="fp16", choices=("fp16", "bf16", "fp32"))
    parser.add_argument("--model", choices=("encoder", "decoder"), help="default: both")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    if reason := missing():
        parser.error(reason)
    demo = options.geometry == "demo"
    model = load_checkpoint("demo").model if demo else random_checkpoint(options.geometry)
    specs = [
        spec for spec in (ENCODER, DECODER) if options.model is None or options.model in spec.name
    ]
    rows = []
    for spec in specs:
        for form in FORMS:
            for row in measure(model, spec, form, options.precision):
                rows.append(row)
                print(
                    f"{row['model']:16} {row['form']:13} {row['shape']:26} "
                    f"{row['kernels']:4} kernels, {row['attentions']:2} attentions, "
                    f"{row['mib']:6.0f} MiB, {row['gigabytes']:6.2f} GB, {row['gflop']:7.1f} GFLOP",
                    flush=True,
                )
    if options.json:
        content = {"geometry": options.geometry, "precision": options.precision, "rows": rows}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def measure(
    model: SamModel, spec: ModelSpec, form: str, precision: str
) -> Iterator[dict[str, Any]]:
    """Export one form of a model's graph, and give the figures of each profile."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / TARGETS["tensorrt"].artifact
        graph = FORMS[form][spec](model).eval()
        TARGETS["tensorrt"].export(graph, spec, path, precision)
        profiles = profile_shapes(spec, ROWS)
        served = rehearse(Recipe(path, profiles, precision))
        for profile, shapes in zip(served.profiles, profiles, strict=True):
            best: Shapes = {name: (shape, shape, shape) for name, (_, shape, _) in shapes.items()}
            (fixed,) = rehearse(Recipe(path, [best], precision)).profiles
            yield {
                "model": spec.name,
                "form": form,
                "shape": describe(best),
                "kernels": len(profile.kernels),
                "attentions": profile.attentions,
                "mib": profile.scratch_bytes / 2**20,
                "complaints": len(served.complaints),
                "gigabytes": sum(map(moved, fixed.kernels)) / 1e9,
                "gflop": sum(map(operations, fixed.kernels)) / 1e9,
            }


def describe(shapes: Shapes) -> str:
    """Say in words what a profile is best for."""
    first = next(iter(shapes.values()))[0]
    images = f"{first[0]} image{'s' if first[0] > 1 else ''}"
    if "point_coords" not in shapes:
        return images
    prompts = shapes["point_coords"][0][1]
    return f"{images}, {prompts} prompt{'s' if prompts > 1 else ''} each"


def tensors(described: str, kind: str, until: str) -> list[tuple[list[int], str]]:
    """Give dims and types of a kernel's tensors of one kind."""
    part = described[described.index(f", {kind}: ") : described.index(f", {until}: ")]
    return [
        ([int(dim) for dim in dims.split(",") if dim], datatype)
        for dims, datatype in TENSOR.findall(part)
    ]


def moved(kernel: Kernel) -> int:
    """Count the bytes that a kernel reads and writes, if each of its tensors is touched once."""
    found = tensors(kernel.described, "Inputs", "TacticName")
    return sum(math.prod(dims) * BYTES[datatype] for dims, datatype in found)


def operations(kernel: Kernel) -> int:
    """Count a kernel's floating point operations in products."""
    inputs = tensors(kernel.described, "Inputs", "Constants")
    outputs = tensors(kernel.described, "Outputs", "TacticName")
    if kernel.is_attention:
        (queries, _), (keys, _), *_ = inputs
        attended = outputs[0][0]
        pairs = math.prod(queries[:-1]) * keys[-1]
        return 2 * pairs * (queries[-1] + attended[-1])
    kind = re.search(r"LayerType: (\w+)", kernel.described)
    assert kind is not None
    if kind[1] == "correlation":
        weights = tensors(kernel.described, "Constants", "Outputs")
        (filters,) = (dims for dims, _ in weights if len(dims) == 4)
        return 2 * math.prod(outputs[0][0]) * math.prod(filters[1:])
    if kind[1] == "gemm" or "_Fc" in kernel.name:
        return 2 * math.prod(outputs[0][0]) * inputs[0][0][-1]
    return 0


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    raise SystemExit(main())
