"""The embedded server: tritonserver as a child that never outlives its parent."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from slimsam_server import checks
from slimsam_server.backend_directory import assemble
from slimsam_server.errors import ServerError
from slimsam_server.probe import probe
from slimsam_server.tritonserver import environment, wheel_directory

HOST: Final = "127.0.0.1"
"""Loopback only: Triton 2.51 has known vulnerabilities."""
RESTRICTED: Final = ("model-repository", "shared-memory", "trace", "logging")
"""gRPC protocols that need the admin key, which nobody is told."""
GRACE_SECONDS: Final = 3
"""How long requests in flight may take after a stop is asked for."""
START_SECONDS: Final = 300
SHARED_MEMORY: Final = Path("/dev/shm")

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class EmbeddedServer:
    """A real tritonserver on loopback, serving a model repository.

    Args:
        model_repository: the directory.
        target: "openvino", "torchscript" or "onnxruntime".
        grpc_port: 0 takes a free one.
        metrics_port: 0 takes a free one.
        verbose: Triton's log goes to standard error instead of a file.
        allow_shared_memory: clients may register shared memory (`SlimSam(shared_memory=True)`). It
            is for machines whose every user is trusted: Triton 2.51 has vulnerabilities there.

    Attributes:
        grpc_url: host:port, once started.
        metrics_url: address of the Prometheus metrics, once started.
    """

    def __init__(
        self,
        model_repository: str | Path,
        target: str = "openvino",
        grpc_port: int = 0,
        metrics_port: int = 0,
        verbose: bool = False,
        allow_shared_memory: bool = False,
    ) -> None:
        self.repository = Path(model_repository).absolute()
        self.target = target
        self.verbose = verbose
        self.restricted = [
            protocol
            for protocol in RESTRICTED
            if protocol != "shared-memory" or not allow_shared_memory
        ]
        self._ports = (grpc_port, metrics_port)
        self._process: subprocess.Popen[bytes] | None = None
        self._stubs: list[int] = []
        # Regions of other servers on this machine have other names.
        self._shm_prefix = f"slimsam_{secrets.token_hex(6)}"

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
            ServerError: it cannot start; nothing is left behind.
        """
        checks.check_repository(self.repository, self.target)
        checks.check_interpreter(self.target)
        for port, purpose in zip(self._ports, ("grpc", "metrics"), strict=True):
            checks.check_port(port, purpose)
        grpc_port, metrics_port = (port or _free_port() for port in self._ports)
        self.grpc_url = f"{HOST}:{grpc_port}"
        self.metrics_url = f"http://{HOST}:{metrics_port}/metrics"
        self._directory = Path(tempfile.mkdtemp(prefix="slimsam-serve-"))
        try:
            self._launch(grpc_port, metrics_port)
            self._wait_until_it_serves()
        except BaseException:
            self.stop()
            raise

    def _launch(self, grpc_port: int, metrics_port: int) -> None:
        backends = assemble(self._directory / "backends")
        command = [
            str(wheel_directory() / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            "--allow-http=false",
            f"--grpc-address={HOST}",
            f"--grpc-port={grpc_port}",
            f"--metrics-address={HOST}",
            f"--metrics-port={metrics_port}",
            f"--grpc-restricted-protocol={','.join(self.restricted)}"
            f":slimsam-admin={secrets.token_hex(16)}",
            "--model-control-mode=none",
            "--disable-auto-complete-config",
            "--strict-readiness=true",
            "--exit-on-error=true",
            f"--exit-timeout-secs={GRACE_SECONDS}",
            "--log-format=ISO8601",
        ]
        if self.target != "torchscript":  # whose configuration is config.pbtxt itself
            command.append(f"--model-config-name={self.target}")
        binary = Path(command[0])
        if not os.access(binary, os.X_OK):  # some installers drop the bit
            binary.chmod(0o755)
        log = None if self.verbose else (self._directory / "tritonserver.log").open("wb")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(len(os.sched_getaffinity(0))),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        finally:
            if log is not None:
                log.close()

    def _wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        answer: str | None = "no answer yet"
        while time.monotonic() < deadline:
            if failure := self.failure():
                raise ServerError(failure)
            if _listens(self.grpc_url):
                # Triton opens its port when all models are ready.
                answer = probe(self.grpc_url, timeout=60)
                if answer is None:
                    assert self._process is not None
                    self._stubs = _children(self._process.pid)
                    return
            time.sleep(0.1)
        raise ServerError(
            f"expected masks within {START_SECONDS} s of the start, got: {answer}{self._last_log()}"
        )

    def failure(self) -> str | None:
        """Say what has died, tritonserver or one of its stubs; None while all live.

        A dead stub must be looked for: Triton 2.51 goes on calling itself ready without it.
        """
        if self._process is None:
            return "tritonserver is not running"
        status = self._process.poll()
        if status is not None:
            return f"tritonserver ended with status {status}{self._last_log()}"
        if any(not _is_alive(stub) for stub in self._stubs):
            return f"a model's process has died{self._last_log()}"
        return None

    def models(self) -> list[str]:
        """Give the names of the models that the repository has."""
        return sorted(path.parent.name for path in self.repository.glob("*/config.pbtxt"))

    def processes(self) -> list[int]:
        """Give the ids of tritonserver's process and of its models', to measure them."""
        if self._process is None or self._process.poll() is not None:
            return []
        return [self._process.pid, *_children(self._process.pid)]

    def stop(self) -> None:
        """Stop: requests in flight get a few seconds, then every process and region is removed."""
        if self._process is not None:
            stubs_live = all(_is_alive(stub) for stub in self._stubs)
            if self._process.poll() is None and stubs_live:
                self._process.terminate()
                try:
                    self._process.wait(GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    pass
            # Stubs share the group, and outlive a server that was killed by a few seconds.
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
            deadline = time.monotonic() + 1
            while any(map(_is_alive, self._stubs)) and time.monotonic() < deadline:
                time.sleep(0.02)
            self._process = None
            self._stubs = []
        for region in SHARED_MEMORY.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
        if hasattr(self, "_directory"):
            shutil.rmtree(self._directory, ignore_errors=True)

    def _last_log(self) -> str:
        """What Triton last complained about, on a line of its own."""
        log = self._directory / "tritonserver.log"
        if not log.exists():
            return ""
        lines = log.read_text(errors="replace").splitlines()
        telling = [line for line in lines if " E " in line[:60] or "error" in line.lower()]
        return f"; its log says: {telling[-1].strip()}" if telling else ""


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind((HOST, 0))
        port: int = probe_socket.getsockname()[1]
        return port


def _listens(url: str) -> bool:
    host, port = url.split(":")
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((host, int(port))) == 0


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        # "pid (name) state ...": the name may hold spaces, so look behind its bracket.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
