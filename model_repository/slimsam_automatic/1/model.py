"""Everything mode inside the server: drives the SDK's generator by calls to the other models."""

from __future__ import annotations

import json
from typing import Any

import triton_python_backend_utils as pb_utils

from slimsam_client import ImageError, MissingExtraError, SettingsError
from slimsam_client.calls import Call, Done, advance
from slimsam_client.contract import AUTOMATIC
from slimsam_client.everything.remote import answer_request
from slimsam_client.wire import Arrays


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration's parameter."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.max_points = int(parameters["max_points_per_batch"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its records, or with an error of its own."""
        return [_response(request, self.max_points) for request in requests]


class _Refused(Exception):
    """An error with the status that the client gets."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _response(request: Any, max_points: int) -> Any:
    try:
        arrays = _records(request, max_points)
    except _Refused as error:
        return _error(str(error), error.status)
    except (ImageError, SettingsError) as error:
        return _error(str(error), pb_utils.TritonError.INVALID_ARG)
    except MissingExtraError as error:
        return _error(str(error), pb_utils.TritonError.UNSUPPORTED)
    except Exception as error:
        return _error(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
    wanted = request.requested_output_names()
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor(tensor.name, arrays[tensor.name])
            for tensor in AUTOMATIC.outputs
            if tensor.name in wanted
        ]
    )


def _records(request: Any, max_points: int) -> Arrays:
    inputs = {
        spec.name: tensor.as_numpy()
        for spec in AUTOMATIC.inputs
        if (tensor := pb_utils.get_input_tensor_by_name(request, spec.name)) is not None
    }
    steps = answer_request(inputs, max_points)
    step = advance(steps, None)
    while not isinstance(step, Done):
        if request.is_cancelled():
            raise _Refused("cancelled", pb_utils.TritonError.CANCELLED)
        step = advance(steps, _infer(step))
    return step.result


def _infer(call: Call) -> Arrays:
    request = pb_utils.InferenceRequest(
        model_name=call.spec.name,
        requested_output_names=[tensor.name for tensor in call.spec.outputs],
        inputs=[
            pb_utils.Tensor(tensor.name, call.arrays[tensor.name][None])
            for tensor in call.spec.inputs
        ],
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
    )
    response = request.exec()
    if response.has_error():
        raise _Refused(
            f"{call.spec.name}: {response.error().message()}", pb_utils.TritonError.INTERNAL
        )
    return {
        tensor.name: pb_utils.get_output_tensor_by_name(response, tensor.name).as_numpy()[0]
        for tensor in call.spec.outputs
    }


def _error(message: str, status: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, status))
