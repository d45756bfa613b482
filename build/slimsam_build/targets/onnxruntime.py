"""ONNX for Triton's onnxruntime backend: `model.onnx`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import onnx
import onnxruntime
import torch
from torch import nn

from slimsam_build.targets.example import example_inputs
from slimsam_client.contract import ModelSpec

if TYPE_CHECKING:
    from slimsam_build.targets import Arrays, Run

ARTEFACT: Final = "model.onnx"
FILES: Final = (ARTEFACT,)
BATCHES: Final = True
REFUSED: Final[dict[str, str]] = {
    "fp16": "ONNX Runtime's CPU kernels compute it as fp32 between casts; use fp32",
    "bf16": "ONNX Runtime's CPU kernels do not cover it; use fp32, or target openvino",
}
OPSET: Final = 17
"""The first with LayerNormalization as one operator."""
AXES: Final = ("prompts", "points")


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Export a graph and check the file; parameters: see `slimsam_build.targets`."""
    axes = {}
    for tensor in (*spec.inputs, *spec.outputs):
        free = [axis for axis, dim in enumerate(tensor.dims, 1) if dim == -1]
        axes[tensor.name] = {0: "batch", **dict(zip(free, AXES, strict=False))}
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter by tracing needs no further package and keeps the graph as it is written.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # A slice that it leaves for ONNX Runtime to fold.
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            graph,
            example_inputs(spec),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_axes=axes,
        )
    onnx.checker.check_model(str(path))


def load(path: Path, spec: ModelSpec, precision: str) -> Run:
    """Load an artefact to run on arrays."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in spec.outputs]

    def run(arrays: Arrays) -> Arrays:
        feeds = {tensor.name: arrays[tensor.name] for tensor in spec.inputs}
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run
