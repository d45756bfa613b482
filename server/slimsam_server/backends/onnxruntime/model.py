"""Stands in for Triton's ONNX Runtime backend: the same configurations, the same artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime

from slimsam_server.standin import Model, Run, core_count


def load(path: Path, arguments: dict[str, str]) -> Run:
    """Open a session that uses all cores while it runs and none while it waits."""
    config = json.loads(arguments["model_config"])
    inputs = [tensor["name"] for tensor in config["input"]]
    outputs = [tensor["name"] for tensor in config["output"]]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = core_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(arrays: list[Any]) -> list[Any]:
        result: list[Any] = session.run(outputs, dict(zip(inputs, arrays, strict=True)))
        return result

    return run


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        self.model = Model(args, load)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests."""
        return self.model.execute(requests)
