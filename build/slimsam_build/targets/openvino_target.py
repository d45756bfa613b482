"""OpenVINO for Triton's openvino backend: `model.xml` and `model.bin`, the fast CPU target.

OpenVINO is imported where it is used: who builds for a GPU alone can do without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import nn

from slimsam_build.targets.target import Run
from slimsam_build.targets.torchscript_target import trace
from slimsam_client.contract import Arrays, ModelSpec

PRECISION_HINTS: Final = {"fp32": "f32", "bf16": "bf16"}
"""bf16 keeps the float32 file: the runtime rounds, if it is told to, as this hint does."""
TYPES: Final = {
    "UINT8": "u8",
    "INT32": "i32",
    "FP16": "f16",
    "FP32": "f32",
}


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Convert a graph and save it; parameters: see `slimsam_build.targets`."""
    import openvino

    with torch.inference_mode():
        traced = trace(graph, spec)
    model = openvino.convert_model(
        traced,
        input=[
            (openvino.PartialShape([1, *tensor.dims]), getattr(openvino.Type, TYPES[tensor.dtype]))
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
    import openvino

    compiled = openvino.Core().compile_model(
        path,
        "CPU",
        {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision]},
    )

    def run(arrays: Arrays) -> Arrays:
        outputs = compiled({tensor.name: arrays[tensor.name] for tensor in spec.inputs})
        return {tensor.name: outputs[tensor.name] for tensor in spec.outputs}

    return run
