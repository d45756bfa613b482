"""ONNX made for TensorRT: `model.tensorrt.onnx`, which `plan` turns into a plan.

The precision lies in the graph, types and casts, because TensorRT 11 builds strongly typed networks
only. The file is checked and gated without a GPU; the plan is gated again where it is built.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from slimsam_build.graphs.precision import cast
from slimsam_build.targets import onnx_target
from slimsam_build.targets.target import Run
from slimsam_build.targets.tensorrt.parser import check_for_tensorrt
from slimsam_client.contract import Arrays, ModelSpec


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Export a graph in its precision and check the file; see `slimsam_build.targets`."""
    onnx_target.write(cast(graph, precision), spec, path)
    check_for_tensorrt(path)


def load(path: Path, spec: ModelSpec, precision: str) -> Run:
    """Load the ONNX file on the CPU, to run on arrays."""
    if precision != "bf16":
        return onnx_target.load(path, spec, precision)
    # ONNX Runtime has no bfloat16 kernels for the CPU.
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})

    def run(arrays: Arrays) -> Arrays:
        found = compiled({tensor.name: arrays[tensor.name] for tensor in spec.inputs})
        return {tensor.name: found[tensor.name] for tensor in spec.outputs}

    return run
