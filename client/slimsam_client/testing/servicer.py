"""Triton's gRPC service over the fake models: what the SDK calls of it, and no more."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer

from slimsam_client.contract import (
    ANY_VERSION,
    AUTOMATIC,
    CLICK,
    IMAGE,
    INFO,
    MODELS,
    OF_CHECKPOINT,
    ModelSpec,
    model_version,
)
from slimsam_client.testing.info import DIGEST, answer_info
from slimsam_client.testing.memory_store import MemoryStore
from slimsam_client.testing.messages import Refused, describe, read_inputs, to_response
from slimsam_client.testing.models import infer

SPECS: Final = {spec.name: spec for spec in (*MODELS, AUTOMATIC, IMAGE, CLICK, INFO)}
PLATFORM: Final = "slimsam_client.testing"


@dataclass(frozen=True)
class Fault:
    """What happens to one inference: it waits, and then it fails, unless `status` is None.

    Attributes:
        seconds: how long it waits.
        status: a grpc.StatusCode.
        message: the message that goes with the status.
    """

    seconds: float = 0.0
    status: Any = None
    message: str = ""


@dataclass
class ReceivedRequest:
    """An inference that a client asked for.

    Attributes:
        model: its name.
        request_id: the client's id of it.
        headers: its gRPC metadata, names in lower case.
        shapes: the shapes of its input tensors, with their batch axis, by name.
        status: the grpc.StatusCode that it ended in, None while it is under way. It is CANCELLED
            also if the deadline passed.
    """

    model: str
    request_id: str
    headers: dict[str, str | bytes]
    shapes: dict[str, tuple[int, ...]]
    status: Any = field(default=None, compare=False)


class Servicer(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The service; `FakeServer` says what it answers.

    Attributes:
        requests: every inference that was asked for, in the order of arrival; slimsam_info's,
            which clients ask by themselves, are left out.
        unready: names of models that are not ready.
        digest: the digest of the checkpoint that is said to be served.
        faults: what happens to the next inferences, by the model's name.
        kept: what has been uploaded.
    """

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self.unready: set[str] = set()
        self.digest = DIGEST
        self.kept = MemoryStore()
        self.faults: dict[str, deque[Fault]] = {name: deque() for name in SPECS}

    def ServerLive(self, request: Any, context: Any) -> Any:
        """Whether the server lives: always."""
        return messages.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: Any) -> Any:
        """Whether all models are ready."""
        return messages.ServerReadyResponse(ready=not self.unready)

    def ServerMetadata(self, request: Any, context: Any) -> Any:
        """Give the server's name, which is not Triton's, and its version."""
        return messages.ServerMetadataResponse(
            name=f"{PLATFORM}.FakeServer", version=version("slimsam-client")
        )

    def ModelReady(self, request: Any, context: Any) -> Any:
        """Whether a model is ready."""
        try:
            self._model(request.name, request.version)
        except Refused:
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=True)

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        """Describe a model."""
        try:
            spec = self._model(request.name, request.version)
            return describe(spec, PLATFORM, self._version(spec))
        except Refused as error:
            context.abort(error.status, str(error))

    def ModelInfer(self, request: Any, context: Any) -> Any:
        """Answer an inference."""
        received = ReceivedRequest(
            request.model_name,
            request.id,
            dict(context.invocation_metadata()),
            {tensor.name: tuple(tensor.shape) for tensor in request.inputs},
        )
        if request.model_name != INFO.name:
            self.requests.append(received)
        try:
            spec = self._model(request.model_name, request.model_version)
            version = self._version(spec)
            self._apply_fault(spec.name, context)
            inputs = read_inputs(request, spec)
            arrays = (
                answer_info(self.digest)
                if spec is INFO
                else infer(spec, inputs, context.is_active, self.kept, self.digest)
            )
            answer = to_response(request, spec, arrays, version)
        except Refused as error:
            received.status = error.status
            context.abort(error.status, str(error))
        received.status = grpc.StatusCode.OK if context.is_active() else grpc.StatusCode.CANCELLED
        return answer

    def _model(self, name: str, wanted: str) -> ModelSpec:
        unknown = f"Request for unknown model: '{name}'"
        if name not in SPECS:
            raise Refused(f"{unknown} is not found", grpc.StatusCode.NOT_FOUND)
        if wanted not in ("", self._version(SPECS[name])):
            raise Refused(f"{unknown} version {wanted} is not found", grpc.StatusCode.NOT_FOUND)
        if name in self.unready:
            # Triton gives this message and status where the client asks for no version.
            raise Refused(f"{unknown} has no available versions", grpc.StatusCode.NOT_FOUND)
        return SPECS[name]

    def _version(self, spec: ModelSpec) -> str:
        return model_version(self.digest) if spec in OF_CHECKPOINT else ANY_VERSION

    def _apply_fault(self, model: str, context: Any) -> None:
        """Do what a test wants to happen to this inference."""
        try:
            fault = self.faults[model].popleft()
        except IndexError:
            return
        ended = threading.Event()
        if context.add_callback(ended.set):  # it is called when the client has gone, too
            ended.wait(fault.seconds)
        if not context.is_active():
            raise Refused("cancelled", grpc.StatusCode.CANCELLED)
        if fault.status is not None:
            raise Refused(fault.message, fault.status)
