"""Graphs to ONNX files: `model.onnx` for Triton's onnxruntime backend, and what TensorRT gets."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import onnx
import onnxruntime
import torch
from torch import nn

from slimsam_build.graphs.axes import free_axes
from slimsam_build.graphs.example import example_inputs
from slimsam_build.graphs.precision import cast
from slimsam_build.targets.row_by_row import scan_rows
from slimsam_build.targets.target import Run
from slimsam_client.contract import DECODER, Arrays, ModelSpec

OPSET: Final = 17
"""The first with LayerNormalization as one operator."""
PROVIDERS: Final = ("CUDAExecutionProvider", "CPUExecutionProvider")


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Export a graph for ONNX Runtime, the decoder in a loop; see `slimsam_build.targets`."""
    write(cast(graph, precision), spec, path)
    if spec == DECODER:
        scan_rows(path)


def write(graph: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Export a graph in its own precision, with dynamic batch and free axes; and check it.

    Args:
        graph: to be exported.
        spec: the model whose inputs and outputs it has.
        path: where the file goes.
    """
    axes = {}
    for tensor in (*spec.inputs, *spec.outputs):
        free = {axis + 1: name for axis, name in free_axes(tensor).items()}
        axes[tensor.name] = {0: "batch", **free}
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
    _declare_outputs(path, spec)
    onnx.checker.check_model(str(path))


def _declare_outputs(path: Path, spec: ModelSpec) -> None:
    """Declare the contract's sizes: the exporter loses some, and Triton compares them."""
    model = onnx.load(path)
    for output, tensor in zip(model.graph.output, spec.outputs, strict=True):
        for dim, size in zip(output.type.tensor_type.shape.dim[1:], tensor.dims, strict=True):
            if size != -1:
                dim.dim_value = size
    onnx.save(model, path)


def has_cuda() -> bool:
    """Say whether ONNX Runtime's package computes on CUDA, and there is a device."""
    return torch.cuda.is_available() and PROVIDERS[0] in onnxruntime.get_available_providers()


def load(path: Path, spec: ModelSpec, precision: str) -> Run:
    """Load a file into ONNX Runtime, on the GPU where its package has CUDA, to run on arrays."""
    providers = PROVIDERS if has_cuda() else PROVIDERS[1:]
    session = onnxruntime.InferenceSession(str(path), providers=providers)
    names = [tensor.name for tensor in spec.outputs]

    def run(arrays: Arrays) -> Arrays:
        feeds = {tensor.name: arrays[tensor.name] for tensor in spec.inputs}
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run
