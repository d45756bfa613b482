"""`FakeServer`: its start and stop, its faults, and the requests that it received."""

from __future__ import annotations

import socket
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final

import grpc
from tritonclient.grpc.service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

from slimsam_client.errors import SettingsError
from slimsam_client.testing.servicer import SPECS, Fault, ReceivedRequest, Servicer

HOST: Final = "127.0.0.1"
WORKERS: Final = 64
"""The server takes so many requests at once; others wait. Threads are started when needed."""


class FakeServer:
    """A gRPC server on loopback that speaks the contract: Triton's protocol, fake models.

    Models are slimsam_encoder, slimsam_decoder, slimsam_decoder_bulk, slimsam, slimsam_automatic,
    slimsam_image, slimsam_click and slimsam_info. Uploaded images are kept until `forget_uploads`.
    Requests are checked as Triton checks them, and get the same statuses; values that the contract
    forbids are answered with NaN, as by the repository's graphs; up to 8 rows are a batch, as its
    default configurations have it. There is no TLS, no shared memory, and none of
    Triton's services beside inference, metadata and readiness.

    **What it answers.** The same request always gets the same answer. A click selects its *region*:
    the pixels that are connected with the clicked one and whose color is within 32 of its color, in
    each channel of 0..255. So a click on a drawn shape gives that shape, to about 4 pixels of the
    1024 frame. In this order:

    - the regions of all foreground points together; a box without one counts as a point in its
      middle; points of other labels select nothing;
    - and the inside of `mask_input`, if there is one;
    - of that, what is inside the box, if there is one;
    - without a disc of 32 pixels, in the 1024 frame, around each background point.

    Of the three candidates the first is the part of the region within 64 pixels of the points, in
    the 1024 frame; the second is the region; the third its bounding box, background points cut out
    of it, too. Their scores are 0.7, 0.95 and 0.8, so the best is in the middle. With
    `multimask_output=False` the region comes with 0.9. Logits are 20 and -20.

    Everything mode, in the client or here, therefore finds each region that has a point of the grid
    in it, unless it is tiny or its box is nearly that of another one.

    Args:
        port: 0 takes a free one.

    Attributes:
        url: host:port, once started; the same after each later start, and kept between them.
        requests: every inference that a client asked for, in the order of arrival; retries are
            further ones. slimsam_info's, which clients ask by themselves, are left out.
        digest: the digest of the checkpoint that is said to be served. After it is changed, clients
            refuse earlier embeddings (`StaleEmbeddingError`).
        unready: names of models that are not ready, each for itself; none at first. Without
            "slimsam_automatic", for example, everything mode runs in the client.
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._servicer = Servicer()
        self._server: Any = None
        self._is_held = False

    def __enter__(self) -> FakeServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """host:port of the gRPC service."""
        return f"{HOST}:{self._port}"

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every inference so far."""
        return self._servicer.requests

    @property
    def unready(self) -> set[str]:
        """Names of the models that are not ready; change it as you like."""
        return self._servicer.unready

    @property
    def digest(self) -> str:
        """The digest of the checkpoint, as slimsam_info has it; change it as you like."""
        return self._servicer.digest

    @digest.setter
    def digest(self, digest: str) -> None:
        self._servicer.digest = digest

    def start(self) -> None:
        """Start, or start again at the same address.

        Raises:
            SettingsError: the port is taken, or the server runs already.
        """
        if self._server is not None:
            raise SettingsError("expected a FakeServer that is not running, got one that is")
        self._hold_port()
        server = grpc.server(
            ThreadPoolExecutor(WORKERS, "fake-server"),
            options=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.so_reuseport", 0),  # two servers must not share a port unawares
            ],
        )
        add_GRPCInferenceServiceServicer_to_server(self._servicer, server)
        try:
            self._port = server.add_insecure_port(f"{HOST}:{self._port}")
        except RuntimeError as error:
            raise SettingsError(f"port: expected a free one, got {self._port}; take 0") from error
        server.start()
        self._server = server

    def _hold_port(self) -> None:
        """Keep the port while the server is stopped, so that nobody else is given it meanwhile.

        A socket that is bound does so, and on Linux gRPC can listen beside it (socket(7)).
        """
        if self._is_held or sys.platform != "linux":
            return
        held = socket.socket()
        try:
            # A free port is one that nobody else holds; one that is asked for may be.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, self._port != 0)
            held.bind((HOST, self._port))
        except OSError as error:
            held.close()
            raise SettingsError(f"port: expected a free one, got {self._port}; take 0") from error
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        weakref.finalize(self, held.close)
        self._port = held.getsockname()[1]
        self._is_held = True

    def stop(self) -> None:
        """Stop: requests under way fail, and nothing answers any more. Stopping twice is fine."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def fail(
        self, model: str, status: Any, message: str = "as the test wants", times: int = 1
    ) -> None:
        """Make the next inferences of a model fail.

        The SDK repeats what is UNAVAILABLE, until its timeout: `times=1` shows that a service
        recovers, and more times, with a short timeout, what it does in the end.

        Args:
            model: a model that clients call; slimsam's own calls of the other two are not meant.
            status: a grpc.StatusCode, not OK.
            message: the message that goes with it.
            times: how many inferences fail.

        Raises:
            SettingsError: there is no such model, or the status is no failure.
        """
        if not isinstance(status, grpc.StatusCode) or status is grpc.StatusCode.OK:
            raise SettingsError(f"status: expected a grpc.StatusCode but OK, got {status!r}")
        self._add(model, Fault(0.0, status, message), times)

    def delay(self, model: str, seconds: float, times: int = 1) -> None:
        """Make the next inferences of a model wait before they are answered.

        Waiting ends as soon as the client cancels or its deadline passes. Faults of a model come
        one to an inference, in the order in which they were asked for.

        Args:
            model: as for `fail`.
            seconds: how long each waits.
            times: how many inferences wait.

        Raises:
            SettingsError: there is no such model.
        """
        self._add(model, Fault(seconds), times)

    def forget_uploads(self) -> None:
        """Keep none of the uploaded images and their masks any longer, as after a restart."""
        self._servicer.kept.forget_all()

    def _add(self, model: str, fault: Fault, times: int) -> None:
        if model not in SPECS:
            raise SettingsError(f"model: expected one of {', '.join(SPECS)}, got {model!r}")
        self._servicer.faults[model].extend([fault] * times)
