"""A model of Triton's Python backend that answers at once: outputs of its configuration, zeros."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration's outputs."""
        self.outputs = json.loads(args["model_config"])["output"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request."""
        return [self.zeros(request) for request in requests]

    def zeros(self, request: Any) -> Any:
        """As many as the request has prompts."""
        points = pb_utils.get_input_tensor_by_name(request, "point_coords")
        prompts = 0 if points is None else points.as_numpy().shape[1]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(
                    output["name"],
                    np.zeros(
                        [1, *(prompts if int(dim) == -1 else int(dim) for dim in output["dims"])],
                        pb_utils.triton_string_to_numpy(output["data_type"]),
                    ),
                )
                for output in self.outputs
            ]
        )
