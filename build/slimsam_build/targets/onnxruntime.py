"""ONNX for Triton's onnxruntime backend: `model.onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import nn

from slimsam_build.targets.onnx_file import export_onnx, load_onnx
from slimsam_build.targets.run import Run
from slimsam_client.contract import ModelSpec

ARTEFACT: Final = "model.onnx"
FILES: Final = (ARTEFACT,)
BATCHES: Final = True
REFUSED: Final[dict[str, str]] = {
    "fp16": "ONNX Runtime's CPU kernels compute it as fp32 between casts; use fp32",
    "bf16": "ONNX Runtime's CPU kernels do not cover it; use fp32, or target openvino",
}


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Export a graph and check the file; parameters: see `slimsam_build.targets`."""
    export_onnx(graph, spec, path)


def load(path: Path, spec: ModelSpec, precision: str) -> Run:
    """Load an artefact to run on arrays."""
    return load_onnx(path, spec)
