"""Requests and answers of Triton's Python backend, in which alone this can be imported."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any, Final

import triton_python_backend_utils as pb_utils

from slimsam_client.calls import Call
from slimsam_client.contract import INFO, Arrays, ModelSpec
from slimsam_client.errors import (
    ImageError,
    InvalidRequestError,
    MissingExtraError,
    NotKeptError,
    PromptError,
    RequestCancelledError,
    ServerBusyError,
    ServerError,
    SettingsError,
)
from slimsam_client.serving.limits import Watch
from slimsam_client.serving.rows import only_row

FULL: Final = "maximum queue size"
"""Triton says so of a queue without room; the status of such an answer is INTERNAL in here."""
PAUSE: Final = 0.1
"""Seconds, at most, until a model whose queue was full is called again."""

STATUSES: Final = {
    RequestCancelledError: "CANCELLED",
    ServerBusyError: "UNAVAILABLE",
    NotKeptError: "NOT_FOUND",
    ImageError: "INVALID_ARG",
    InvalidRequestError: "INVALID_ARG",
    PromptError: "INVALID_ARG",
    SettingsError: "INVALID_ARG",
    MissingExtraError: "UNSUPPORTED",
    ServerError: "INTERNAL",
}
"""What the client gets for each error, by Triton's names; the message is the error's."""


def parameters_of(args: dict[str, str]) -> dict[str, str]:
    """Give the parameters of a model's configuration, by what `initialize` gets."""
    parameters = json.loads(args["model_config"])["parameters"]
    return {name: value["string_value"] for name, value in parameters.items()}


def info_folder(args: dict[str, str]) -> Path:
    """Give the folder in which slimsam_info says what is served, by what `initialize` gets."""
    return Path(args["model_repository"]).parent / INFO.name / args["model_version"]


def inputs_of(request: Any, spec: ModelSpec) -> Arrays:
    """Give a request's tensors, without their batch axis.

    Raises:
        InvalidRequestError: it has several rows.
    """
    inputs = {
        tensor.name: found.as_numpy()
        for tensor in spec.inputs
        if (found := pb_utils.get_input_tensor_by_name(request, tensor.name)) is not None
    }
    return only_row(inputs) if spec.batched else inputs


def response_of(request: Any, spec: ModelSpec, arrays: Arrays) -> Any:
    """Answer a request with the outputs that it asks for."""
    wanted = request.requested_output_names()
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor(
                tensor.name, arrays[tensor.name][None] if spec.batched else arrays[tensor.name]
            )
            for tensor in spec.outputs
            if tensor.name in wanted
        ]
    )


def refusal(error: Exception) -> Any:
    """Answer a request with an error."""
    status, message = "INTERNAL", f"{type(error).__name__}: {error}"
    for kind, name in STATUSES.items():
        if isinstance(error, kind):
            status, message = name, str(error)
    # The backend adds this class once it has imported the model.
    kinds = pb_utils.TritonError
    return pb_utils.InferenceResponse(error=kinds(message, getattr(kinds, status)))


def infer(call: Call, watch: Watch, trace: Any) -> Arrays:
    """Call a model, and again while its queue is full: the request's own place is taken already.

    Args:
        call: the call.
        watch: the request's, for which it is made.
        trace: the same request's `trace()`, which the call's spans are of.

    Raises:
        ServerError: it failed.
        RequestCancelledError: the watch says so.
    """
    while (arrays := _answer(call, _request(call, trace).exec())) is None:
        watch.check()
        time.sleep(_pause())
    return arrays


async def infer_async(call: Call, watch: Watch, trace: Any) -> Arrays:
    """Call a model as `infer` does, while others of this process do the same."""
    while (arrays := _answer(call, await _request(call, trace).async_exec())) is None:
        watch.check()
        await asyncio.sleep(_pause())
    return arrays


def _pause() -> float:
    return PAUSE * random.uniform(0.5, 1.0)


def _answer(call: Call, response: Any) -> Arrays | None:
    """Give an answer's arrays; None of a queue that is full."""
    if not response.has_error():
        return {
            tensor.name: pb_utils.get_output_tensor_by_name(response, tensor.name).as_numpy()[0]
            for tensor in call.spec.outputs
        }
    message = response.error().message()
    if FULL in message:
        return None
    raise ServerError(f"{call.spec.name}: {message}")


def _request(call: Call, trace: Any) -> Any:
    return pb_utils.InferenceRequest(
        model_name=call.spec.name,
        requested_output_names=[tensor.name for tensor in call.spec.outputs],
        inputs=[
            pb_utils.Tensor(tensor.name, call.arrays[tensor.name][None])
            for tensor in call.spec.inputs
        ],
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        trace=trace,
    )
