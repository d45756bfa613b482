"""A gRPC server that answers as a script says and keeps what it was sent."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from tritonclient.utils import triton_to_np_dtype

from slimsam_client.contract import MODELS
from slimsam_client.testing.messages import describe
from slimsam_client.transport import sender
from slimsam_client.transport.channel import MAX_MESSAGE_BYTES

SPECS = {spec.name: spec for spec in MODELS}


@dataclass(frozen=True)
class Seen:
    """One inference, as it came.

    Attributes:
        left: seconds until its deadline.
        ended: set when the client has its answer, or does not want it any more.
    """

    request_id: str
    size: int
    headers: dict[str, str]
    peer: str
    left: float
    arrived: float
    ended: threading.Event = field(default_factory=threading.Event)


class Scripted(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves the contract with zeros.

    Attributes:
        script: by method, the statuses that its next calls fail with.
        said: what goes with such a status.
        seen: the inferences that came.
        open: while it is clear, inferences wait.
        metadata_seconds: how long it takes to describe a model.
        described: when it was last asked to, in seconds of time.monotonic.
    """

    def __init__(self) -> None:
        self.script: dict[str, list[grpc.StatusCode]] = defaultdict(list)
        self.said = "as the script says"
        self.seen: list[Seen] = []
        self.open = threading.Event()
        self.open.set()
        self.metadata_seconds = 0.0
        self.described = 0.0

    def ServerLive(self, request: Any, context: Any) -> Any:
        self._follow("ServerLive", context)
        return messages.ServerLiveResponse(live=True)

    def ModelReady(self, request: Any, context: Any) -> Any:
        self._follow("ModelReady", context)
        return messages.ModelReadyResponse(ready=request.name in SPECS)

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        self.described = time.monotonic()
        self._follow("ModelMetadata", context)
        time.sleep(self.metadata_seconds)
        return describe(SPECS[request.name], "python")

    def ModelInfer(self, request: Any, context: Any) -> Any:
        if request.model_name not in SPECS:  # slimsam_info: clients ask whether it is there
            context.abort(grpc.StatusCode.NOT_FOUND, f"'{request.model_name}' is not found")
        arrived = time.monotonic()
        seen = Seen(
            request.id,
            request.ByteSize(),
            dict(context.invocation_metadata()),
            context.peer(),
            context.time_remaining(),
            arrived,
        )
        if not context.add_callback(seen.ended.set):  # it has ended before
            seen.ended.set()
        self.seen.append(seen)
        self._follow("ModelInfer", context)
        self.open.wait(120)
        answer = messages.ModelInferResponse(model_name=request.model_name, id=request.id)
        for tensor in SPECS[request.model_name].outputs:
            shape = [1, *(1 if dim < 0 else dim for dim in tensor.dims)]
            answer.outputs.add(name=tensor.name, datatype=tensor.dtype, shape=shape)
            zeros = np.zeros(shape, triton_to_np_dtype(tensor.dtype))
            answer.raw_output_contents.append(zeros.tobytes())
        return answer

    def _follow(self, method: str, context: Any) -> None:
        if self.script[method]:
            context.abort(self.script[method].pop(0), self.said)


@pytest.fixture
def patient_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks whether a server lives waits for one that a busy machine holds up."""
    monkeypatch.setattr(sender, "LIVE_TIMEOUT", 60.0)


@pytest.fixture
def scripted(patient_look: None) -> Iterator[tuple[Scripted, str]]:
    servicer = Scripted()
    limits = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(40), options=limits)
    add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    servicer.open.set()
    server.stop(None).wait()
