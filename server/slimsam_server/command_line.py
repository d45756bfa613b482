"""tritonserver's command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from slimsam_server.administration import restriction
from slimsam_server.ports import HOST
from slimsam_server.tritonserver import binary_path

GRACE_SECONDS: Final = 3
"""How long requests in flight may take after a stop is asked for."""


def command_line(
    repository: Path,
    backends: Path,
    shm_prefix: str,
    ports: tuple[int, int],
    restricted: Sequence[str],
    config_name: str | None,
    models: Sequence[str],
) -> list[str]:
    """Give the program and its flags.

    Args:
        repository: the model repository.
        backends: the directory of Triton's backends.
        shm_prefix: of the names of shared memory between Triton and its stubs.
        ports: of gRPC and of the metrics.
        restricted: gRPC protocols that are closed to everybody.
        config_name: the value of `--model-config-name`; None: config.pbtxt itself.
        models: names of those that are loaded.
    """
    flags = [
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        "--allow-http=false",
        f"--grpc-address={HOST}",
        f"--grpc-port={ports[0]}",
        f"--metrics-address={HOST}",
        f"--metrics-port={ports[1]}",
        restriction(restricted),
        # Nobody may load others: `restricted` has the calls for it, and there is no HTTP.
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        "--exit-on-error=true",
        f"--exit-timeout-secs={GRACE_SECONDS}",
        "--log-format=ISO8601",
    ]
    if config_name is not None:
        flags.append(f"--model-config-name={config_name}")
    return [str(binary_path()), *flags]
