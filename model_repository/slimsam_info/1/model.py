"""Hands out what the build wrote about the artifacts that are served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from slimsam_client.contract import INFO


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the target's files; a repository may have artifacts of before there were any."""
        parameters = json.loads(args["model_config"])["parameters"]
        target = parameters["target"]["string_value"]
        folder = Path(args["model_repository"]) / args["model_version"]
        self.contents: dict[str, bytes] = {}
        self.missing = ""
        try:
            for name, suffix in (("info", "json"), ("reference", "npz")):
                self.contents[name] = (folder / f"{target}.{suffix}").read_bytes()
        except OSError as error:
            self.missing = (
                f"expected {error.filename}, which slimsam-build writes with the artifacts of "
                f"target {target}, got {error.strerror}; build them again"
            )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with the outputs that it asks for."""
        return [self._answer(request.requested_output_names()) for request in requests]

    def _answer(self, wanted: list[str]) -> Any:
        if self.missing:
            error = pb_utils.TritonError(self.missing, pb_utils.TritonError.NOT_FOUND)
            return pb_utils.InferenceResponse(error=error)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(tensor.name, np.array([self.contents[tensor.name]], np.object_))
                for tensor in INFO.outputs
                if tensor.name in wanted
            ]
        )
