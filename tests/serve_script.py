"""docker/serve.sh on the wheel's tritonserver, each time at an address of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slimsam_server.backend_directory import assemble
from slimsam_server.ports import hold_free_port
from slimsam_server.processes import children
from slimsam_server.tritonserver import environment, wheel_directory

SERVE: Final = Path(__file__).parents[1] / "docker" / "serve.sh"
BIN: Final = Path(sys.executable).parent
WRAPPER: Final = """\
#!/bin/sh
while [ -e {} ]; do sleep 0.05; done
exec {} --backend-directory={} "$@"
"""


@dataclass(frozen=True)
class Serving:
    """A serve.sh that runs: its process, the address of its server, and its environment."""

    process: subprocess.Popen[str]
    url: str
    environment: Mapping[str, str]
    readers: list[threading.Thread] = field(default_factory=list)

    @property
    def tritonserver(self) -> int:
        """The process of the server itself."""
        (found,) = children(self.process.pid)
        return found

    def wait_until_ready(self) -> None:
        """Wait for its line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(f"ready: grpc {self.url}, models slimsam "):
                # It has little more to say, but nobody shall wait for a reader.
                self.readers.append(threading.Thread(target=self.process.stdout.read, daemon=True))
                self.readers[-1].start()
                return
        raise AssertionError(f"ended with status {self.process.wait()}")


def hold(directory: Path) -> Path:
    """While there is this file, no tritonserver of the directory begins to start."""
    return directory / "hold"


def programs(directory: Path) -> Path:
    """Make a directory for PATH with a tritonserver that knows where the stand-ins are."""
    wrapper = directory / "bin" / "tritonserver"
    if not wrapper.exists():
        backends = assemble(directory / "backends")
        wrapper.parent.mkdir(exist_ok=True)
        binary = wheel_directory() / "bin" / "tritonserver"
        wrapper.write_text(WRAPPER.format(hold(directory), binary, backends))
        wrapper.chmod(0o755)
    return wrapper.parent


@contextmanager
def serving(
    directory: Path,
    repository: Path,
    *flags: str,
    host: str = "127.0.0.1",
    port: int = 0,
    command: Sequence[str | Path] = (SERVE,),
    settings: Mapping[str, str] | None = None,
) -> Iterator[Serving]:
    """Start the script; it is ended with all that it has started.

    Args:
        directory: for programs and pictures, which several may share.
        repository: the model repository.
        flags: for tritonserver.
        host: an address of this machine.
        port: 0 takes a free one.
        command: what starts it.
        settings: further variables.
    """
    held = [hold_free_port() for _ in range(2)]
    free = [each.getsockname()[1] for each in held]
    port = port or free[0]
    variables = {
        **environment(2),
        "SLIMSAM_MODELS": str(repository),
        "SLIMSAM_TARGET": "openvino",
        "SLIMSAM_CACHE_PATH": str(directory / f"pictures-{host}-{port}"),
        "SLIMSAM_CACHE_BYTES": "33554432",
        "SLIMSAM_URL": f"{host}:{port}",
        **(settings or {}),
    }
    variables["PATH"] = f"{programs(directory)}:{BIN}:{variables['PATH']}"
    process = subprocess.Popen(
        [
            *(*command, *flags, f"--grpc-address={host}", f"--grpc-port={port}"),
            *(f"--metrics-address={host}", f"--metrics-port={free[1]}"),
        ],
        env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    running = Serving(process, f"{host}:{port}", variables)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        for reader in running.readers:
            reader.join(60)
        assert process.stdout is not None
        process.stdout.close()
        for each in held:
            each.close()
