"""OpenVINO for Triton's openvino backend: `model.xml` and `model.bin`, the fast CPU target."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import openvino
import torch
from torch import nn

from slimsam_build.targets.target import Run
from slimsam_build.targets.torchscript_target import trace
from slimsam_client.contract import Arrays, ModelSpec

PRECISION_HINTS: Final = {"fp32": "f32", "bf16": "bf16"}
"""bf16 keeps the float32 file: the runtime rounds, if it is told to, as this hint does."""
TYPES: Final = {
    "UINT8": openvino.Type.u8,
    "INT32": openvino.Type.i32,
    "FP16": openvino.Type.f16,
    "FP32": openvino.Type.f32,
}


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Convert a graph and save it; parameters: see `slimsam_build.targets`."""
    with torch.inference_mode():
        traced = trace(graph, spec)
    model = openvino.convert_model(
        traced,
        input=[
            (openvino.PartialShape([1, *tensor.dims]), TYPES[tensor.dtype])
            for tensor in spec.inputs
        ],
    )
    for tensor, port in zip(spec.inputs, model.inputs, strict=True):
        port.get_tensor().set_names({tensor.name})
    for tensor, port in zip(spec.outputs, model.outputs, strict=True):
        port.get_tensor().set_names({tensor.name})
    openvino.save_model(model, path, compress_to_fp16=False)


def load(path: Path, spec: ModelSpec, precision: str) -> Run:
    """Load an artifact to run on arrays."""
    compiled = openvino.Core().compile_model(
        path,
        "CPU",
        {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision]},
    )

    def run(arrays: Arrays) -> Arrays:
        outputs = compiled({tensor.name: arrays[tensor.name] for tensor in spec.inputs})
        return {tensor.name: outputs[tensor.name] for tensor in spec.outputs}

    return run
