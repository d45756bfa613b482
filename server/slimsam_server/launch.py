"""The embedded server: tritonserver as a child that never outlives its parent."""

from __future__ import annotations

import os
import weakref
from functools import partial
from pathlib import Path
from types import TracebackType

from slimsam_server import checks
from slimsam_server.administration import RESTRICTED
from slimsam_server.aoti_repository import link_repository
from slimsam_server.backend_directory import assemble
from slimsam_server.command_line import GRACE_SECONDS, command_line
from slimsam_server.errors import ServerError
from slimsam_server.model_config import loaded_models, model_config_name
from slimsam_server.native_backends import check_backends
from slimsam_server.parity import check_parity
from slimsam_server.ports import HOST, as_port, check_port, hold_free_port
from slimsam_server.probe import probe
from slimsam_server.temporary_directory import TemporaryDirectory
from slimsam_server.triton_process import TritonProcess
from slimsam_server.tritonserver import environment


class EmbeddedServer:
    """A real tritonserver on loopback, serving a model repository.

    It ends with the process that started it, in whichever thread that was. A process that is forked
    from that one does not own it: there, `stop` does nothing.

    Args:
        model_repository: the directory.
        target: "openvino", "torchscript", "onnxruntime" or "torch_aoti".
        grpc_port: 0 takes a free one, which a server that is started again keeps. As long as there
            is this object, nobody else is given it.
        metrics_port: the same.
        verbose: Triton's log goes to standard error instead of a file.
        allow_shared_memory: clients may register shared memory (`SlimSam(shared_memory=True)`). It
            is for machines whose every user is trusted: Triton 2.51 has vulnerabilities there.
        backends: a directory with Triton's own C++ backends of 24.10, such as its container's
            /opt/tritonserver/backends; it is not written to. None: stand-ins in Python.

    Attributes:
        grpc_url: host:port, once started.
        metrics_url: address of the Prometheus metrics, once started.

    Raises:
        ServerError: an argument is of a wrong type, or names no target.
    """

    def __init__(
        self,
        model_repository: str | Path,
        target: str = "openvino",
        grpc_port: int = 0,
        metrics_port: int = 0,
        verbose: bool = False,
        allow_shared_memory: bool = False,
        backends: str | Path | None = None,
    ) -> None:
        checks.check_target(target)
        self.repository = checks.as_path(model_repository, "model_repository")
        self.backends = None if backends is None else checks.as_path(backends, "backends")
        self.target = target
        self.verbose = verbose
        self.restricted = [
            protocol
            for protocol in RESTRICTED
            if protocol != "shared-memory" or not allow_shared_memory
        ]
        self._ports = (
            as_port(grpc_port, "grpc_port"),
            as_port(metrics_port, "metrics_port"),
        )
        self._owner: int | None = None
        self._directory: TemporaryDirectory | None = None
        self._process: TritonProcess | None = None

    def __enter__(self) -> EmbeddedServer:
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

    def start(self) -> None:
        """Start, and return when a real inference has been answered.

        Raises:
            ServerError: it has been started already, or it cannot start and nothing is left behind.
        """
        if self._owner is not None:
            raise ServerError(
                "expected a server that is not started, it has been, by process "
                f"{self._owner}; stop it there first, or make another EmbeddedServer"
            )
        checks.check_repository(self.repository, self.target)
        checks.check_temporary_directory()
        if self.backends is not None:
            check_backends(self.backends, self.target)
        checks.check_interpreter(self.target if self.backends is None else None)
        for port, purpose in zip(self._ports, ("grpc", "metrics"), strict=True):
            check_port(port, purpose)
        grpc_port, metrics_port = (port or self._hold_port() for port in self._ports)
        self._ports = (grpc_port, metrics_port)
        self.grpc_url = f"{HOST}:{grpc_port}"
        self.metrics_url = f"http://{HOST}:{metrics_port}/metrics"
        self._owner = os.getpid()
        try:
            process = self._launch(grpc_port, metrics_port)
            process.wait_until_it_serves(self.grpc_url, partial(probe, self.grpc_url))
            check_parity(self.grpc_url)
        except BaseException:
            self.stop()
            raise

    def _hold_port(self) -> int:
        """Keep a port, while models are loaded and from one start to the next, too."""
        held = hold_free_port()
        weakref.finalize(self, held.close)
        port: int = held.getsockname()[1]
        return port

    def _launch(self, grpc_port: int, metrics_port: int) -> TritonProcess:
        config_name = model_config_name(self.repository, self.target)
        try:
            self._directory = TemporaryDirectory()
            backends = assemble(self._directory.path / "backends", self.target, self.backends)
            repository = self.repository
            if self.target == "torch_aoti" and config_name is not None:
                models = self._directory.path / "models"
                repository = link_repository(repository, config_name, models)
            command = command_line(
                repository, backends, self._directory.shm_prefix, (grpc_port, metrics_port),
                self.restricted, config_name, self.models(),
            )  # fmt: skip
            cores = len(os.sched_getaffinity(0))
            log_path = None if self.verbose else self._directory.path / "tritonserver.log"
            # Pictures that are kept go with the directory, unless somebody says where to.
            variables = {"SLIMSAM_CACHE_PATH": str(self._directory.path / "pictures")}
            variables |= environment(cores)
            self._process = TritonProcess(command, variables, log_path)
        except OSError as error:
            raise ServerError(
                f"temporary directory {os.environ.get('TMPDIR') or '/tmp'}: expected room for the "
                f"server's files, got {error}; free some, or name another directory by TMPDIR"
            ) from error
        return self._process

    def failure(self) -> str | None:
        """Say what has died, tritonserver or one of its stubs; None while all live."""
        if self._process is None:
            return "tritonserver is not running"
        return self._process.failure()

    def models(self) -> list[str]:
        """Give the names of the models that are served."""
        name = model_config_name(self.repository, self.target)
        return loaded_models(self.repository, name)

    def processes(self) -> list[int]:
        """Give the ids of tritonserver's process and of its models', to measure them."""
        return [] if self._process is None else self._process.processes()

    def stop(self, seconds: float | None = None) -> None:
        """Stop: requests in flight get a few seconds, then every process and region is removed.

        In a process that was forked from the one that started it, this does nothing.

        Args:
            seconds: how long requests in flight may take, 3 at most; None: 3.
        """
        if self._owner != os.getpid():
            return
        if self._process is not None:
            self._process.end(GRACE_SECONDS if seconds is None else seconds)
            self._process = None
        if self._directory is not None:
            self._directory.remove()
            self._directory = None
        self._owner = None
