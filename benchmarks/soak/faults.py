"""A `slimsam-serve` of its own, and what is done to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as messages

from benchmarks.first_call import first_call
from slimsam_client import Embedding
from slimsam_client.contract import (
    AUTOMATIC,
    BULK_DECODER,
    CLICK,
    DECODER,
    ENCODER,
    IMAGE,
    INFO,
)
from slimsam_client.operations import predict
from slimsam_client.transport.tensors import to_request
from slimsam_server.ports import free_port
from slimsam_server.processes import children

START_SECONDS: Final = 120
METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"


class Served:
    """`slimsam-serve` of a repository, at one address for good.

    Attributes:
        url: host:port of its gRPC service.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._ports = free_port(), free_port()
        self.url = f"127.0.0.1:{self._ports[0]}"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Served:
        """Start it; it restarts tritonserver by itself from then on."""
        command = Path(sys.executable).parent / "slimsam-serve"
        self._process = process = subprocess.Popen(
            [
                *(command, "--model-repository", self._repository, "--target", "openvino"),
                *("--grpc-port", str(self._ports[0]), "--metrics-port", str(self._ports[1])),
            ],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready: "):
            raise SystemExit("slimsam-serve: expected it to start, see above")
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=START_SECONDS)

    def processes(self) -> list[int]:
        """Give tritonserver's process and those of its models; none while it is away."""
        assert self._process is not None
        servers = children(self._process.pid)
        return [*servers, *(stub for server in servers for stub in children(server))]

    def restart(self) -> None:
        """Stop it as an administrator does, and start it."""
        self.__exit__()
        self.__enter__()

    def kill_server(self) -> None:
        """End tritonserver as the kernel does when memory is short."""
        os.kill(self.processes()[0], signal.SIGKILL)

    def signal_model(self, model: str, number: signal.Signals) -> None:
        """Send a signal to the process of a model's first instance."""
        for pid in self.processes()[1:]:
            if f"{model}_0_0" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                os.kill(pid, number)
                return
        raise ProcessLookupError(f"expected a process of {model}, found none")

    def faults(self) -> dict[str, Callable[[], object]]:
        """Give what can be done to it."""
        killed = {
            f"kill -9 of {model}": (model, signal.SIGKILL)
            for model in (
                ENCODER.name,
                DECODER.name,
                BULK_DECODER.name,
                IMAGE.name,
                CLICK.name,
                AUTOMATIC.name,
                INFO.name,
            )
        }
        stopped = {f"SIGSTOP of {DECODER.name}": (DECODER.name, signal.SIGSTOP)}
        return {
            "restart": self.restart,
            "kill -9 of tritonserver": self.kill_server,
            **{
                name: partial(self.signal_model, *arguments)
                for name, arguments in {**killed, **stopped}.items()
            },
            "dims that overflow": partial(self.send, overflowing_prompts()),
        }

    def send(self, request: messages.ModelInferRequest) -> str:
        """Send a hostile request; give the status that it ended in."""
        with grpc.insecure_channel(self.url) as channel:
            try:
                channel.unary_unary(METHOD)(request.SerializeToString(), timeout=60)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"


def overflowing_prompts() -> messages.ModelInferRequest:
    """A click whose dims have a product that wraps around in 64 bits: the stand-in's end."""
    embedding = Embedding(np.zeros(ENCODER.outputs[0].dims, np.float16), (8, 8), (1024, 1024))
    click = first_call(predict(embedding, [(4, 4)], None, None, None, True))
    request = to_request(click)
    for number, tensor in enumerate(request.inputs):
        if tensor.name in ("point_coords", "point_labels"):
            tensor.shape[1] = 2**62
            request.raw_input_contents[number] = b""
    return request


def hostile_requests() -> list[messages.ModelInferRequest]:
    """Requests that no server may accept, and none may suffer from."""
    settings = b'{"points_per_side": 4096, "crop_n_layers": 5}'
    found = []
    for image, text in (
        (b"no picture", b"{}"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"{}"),
        (b"\x89PNG\r\n\x1a\n", settings),
        (b"", b"[" * 100_000),
    ):
        request = messages.ModelInferRequest(model_name=AUTOMATIC.name)
        for name, value in (("image_bytes", image), ("settings", text)):
            request.inputs.add(name=name, datatype="BYTES", shape=[1])
            request.raw_input_contents.append(len(value).to_bytes(4, "little") + value)
        found.append(request)
    for inputs in (
        {"image_id": b"0" * 64, "prompt": b"[" * 60_000},
        {"image_id": b"\xff" * 10_000, "prompt": b"{}"},
        {"image_id": b"0" * 64, "prompt": b'{"box": [[0,0,1e308,1]]}'},
    ):
        request = messages.ModelInferRequest(model_name=CLICK.name)
        for name, value in inputs.items():
            request.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
            request.raw_input_contents.append(len(value).to_bytes(4, "little") + value)
        found.append(request)
    for model in (DECODER, BULK_DECODER):
        many = messages.ModelInferRequest(model_name=model.name)
        many.inputs.add(name="point_coords", datatype="FP32", shape=[1, 10**6, 10**6, 2])
        found.append(many)
    return [*found, messages.ModelInferRequest(model_name="no such model")]
