"""Graphs to ONNX files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import onnx
import onnxruntime
import torch
from torch import nn

from slimsam_build.targets.example import example_inputs
from slimsam_build.targets.run import Arrays, Run
from slimsam_client.contract import ModelSpec

OPSET: Final = 17
"""The first with LayerNormalization as one operator."""
AXES: Final = ("prompts", "points")


def export_onnx(graph: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Export a graph with dynamic batch, prompts and points, and check the file."""
    axes = {}
    for tensor in (*spec.inputs, *spec.outputs):
        free = [axis for axis, dim in enumerate(tensor.dims, 1) if dim == -1]
        axes[tensor.name] = {0: "batch", **dict(zip(free, AXES, strict=False))}
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter by tracing needs no further package and keeps the graph as it is written.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # A slice that it leaves for the runtime to fold.
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


def load_onnx(path: Path, spec: ModelSpec) -> Run:
    """Load a file into ONNX Runtime on the CPU, to run on arrays."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in spec.outputs]

    def run(arrays: Arrays) -> Arrays:
        feeds = {tensor.name: arrays[tensor.name] for tensor in spec.inputs}
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run
