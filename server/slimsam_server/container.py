"""The production server: docker/serve.sh hands tritonserver's command line to this module.

It is the container's first process, and does for NVIDIA's tritonserver what `slimsam-serve` does
for its own: it probes the models, and starts the server again when it or a model has failed.
"""

from __future__ import annotations

import argparse
import math
import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from slimsam_client import SettingsError, SlimSam, Tls
from slimsam_server.administration import KEY_VARIABLE, restriction
from slimsam_server.errors import ServerError
from slimsam_server.model_config import models_of
from slimsam_server.monitor import PROBE_SECONDS
from slimsam_server.probe import probe
from slimsam_server.supervisor import Supervisor
from slimsam_server.temporary_directory import remove_regions
from slimsam_server.triton_process import TritonProcess

PROGRAM: Final = "serve.sh"
ALL_ADDRESSES: Final = ("0.0.0.0", "::", "[::]")
YES: Final = ("true", "on", "1")
"""How Triton's flags say it."""

TLS_VARIABLES: Final = (
    "SLIMSAM_ROOT_CERTIFICATES",
    "SLIMSAM_CERTIFICATE_CHAIN",
    "SLIMSAM_PRIVATE_KEY",
)
"""The files of `Tls`, as `slimsam health` takes them, which is the image's health check."""


class ContainerServer:
    """A tritonserver with the flags that it is given; its log goes where this process's does.

    Its calls that administer it are open to who has the key that the environment names, or to
    nobody.

    Args:
        repository: the model repository that the flags name.
        command: the program and its flags.

    Attributes:
        address: host:port of its gRPC service, from within the container.
        is_probed: whether it can be asked; one with TLS only if the environment has the files.

    Raises:
        ServerError: there is no such program, or the key or the files for TLS cannot be used.
    """

    def __init__(self, repository: Path, command: Sequence[str]) -> None:
        program = shutil.which(command[0])
        if program is None:
            raise ServerError(f"expected the program {command[0]} on PATH, found none")
        self._program = program
        self._arguments = command[1:]
        self._repository = repository
        self._process: TritonProcess | None = None
        self._regions: str | None = None
        # Neither Triton nor the models need to find the key in their environment, too.
        self._environment = dict(os.environ)
        self._restriction = restriction(key=self._environment.pop(KEY_VARIABLE, None))
        flags = _parse_flags(self._arguments)
        host = "localhost" if flags.grpc_address in ALL_ADDRESSES else flags.grpc_address
        self.address = f"{host}:{flags.grpc_port}"
        self._url = self.address
        self._tls: bool | Tls = False
        self.is_probed = True
        if flags.grpc_use_ssl.lower() in YES:
            self._url = os.environ.get("SLIMSAM_URL") or self.address
            self._tls = tls = Tls(*(os.environ.get(name) or None for name in TLS_VARIABLES))
            self.is_probed = tls.root_certificates is not None
        try:
            self.connect().close()
        except SettingsError as error:
            raise ServerError(str(error)) from error

    def connect(self) -> SlimSam:
        """Make a client for probes."""
        return SlimSam(self._url, PROBE_SECONDS, tls=self._tls)

    def start(self) -> None:
        """Start, and return when a real inference has been answered, or it listens."""
        # By their names, shared memory between Triton and its stubs is found when they are killed.
        self._regions = f"slimsam_{secrets.token_hex(4)}"
        name = f"--backend-config=python,shm-region-prefix-name={self._regions}"
        command = [self._program, name, self._restriction, *self._arguments]
        self._process = TritonProcess(command, self._environment, None)
        first = partial(probe, self._url, tls=self._tls) if self.is_probed else None
        self._process.wait_until_it_serves(self.address, first)

    def models(self) -> list[str]:
        """Give the names of the models that the repository has."""
        return models_of(self._repository)

    def failure(self) -> str | None:
        """Say what has died, tritonserver or one of its stubs; None while all live."""
        return "tritonserver is not running" if self._process is None else self._process.failure()

    def stop(self, seconds: float | None = None) -> None:
        """Stop.

        Args:
            seconds: how long requests in flight may take; None: as long as the server's own flags
                give them.
        """
        if self._process is not None:
            self._process.end(math.inf if seconds is None else seconds)
            self._process = None
        if self._regions is not None:
            remove_regions(self._regions)
            self._regions = None


def _parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Read what tritonserver's flags say of its gRPC service."""
    parser = argparse.ArgumentParser(PROGRAM, add_help=False, allow_abbrev=False)
    parser.add_argument("--grpc-address", default="0.0.0.0")
    parser.add_argument("--grpc-port", default="8001")
    parser.add_argument("--grpc-use-ssl", default="false")
    return parser.parse_known_args(arguments)[0]


def main() -> int:
    """Run tritonserver until SIGTERM or SIGINT.

    Returns:
        0 after a signal; 1 if the server could not start, or has failed and is not to be started
        again.
    """
    parser = argparse.ArgumentParser(PROGRAM, allow_abbrev=False)
    parser.add_argument("repository", type=Path)
    parser.add_argument("on_failure", choices=("restart", "exit"))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        server = ContainerServer(options.repository, options.command)
    except ServerError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    if not server.is_probed:
        print(
            f"{PROGRAM}: the models are not probed: a server with TLS is if {TLS_VARIABLES[0]} "
            "names who has signed its certificate",
            file=sys.stderr,
        )

    def ready() -> str:
        return f"ready: grpc {server.address}, models {' '.join(server.models())}"

    connect = server.connect if server.is_probed else None
    return Supervisor(PROGRAM, server, connect, ready, options.on_failure == "restart").run()


if __name__ == "__main__":
    sys.exit(main())
