"""Stands in for Triton's OpenVINO backend: the same configurations, the same artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openvino

from slimsam_server.standin import Model, Run, core_count

PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16"}


def load(path: Path, arguments: dict[str, str]) -> Run:
    """Compile an artifact for all cores, in the precision that its report names."""
    report = path.with_name(f"{path.name}.json")
    precision = json.loads(report.read_text())["precision"] if report.exists() else "fp32"
    compiled = openvino.Core().compile_model(
        path,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": core_count(),
            # Left alone, OpenVINO computes in bf16 where the processor has it.
            "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision],
        },
    )
    request = compiled.create_infer_request()
    # Shared outputs are overwritten by the next inference, which with larger batches may come
    # before the answers of the first have left.
    share_outputs = json.loads(arguments["model_config"])["max_batch_size"] <= 1

    def run(inputs: list[Any]) -> list[Any]:
        outputs = request.infer(inputs, share_inputs=True, share_outputs=share_outputs)
        return [outputs[port] for port in compiled.outputs]

    return run


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        self.model = Model(args, load)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests."""
        return self.model.execute(requests)
