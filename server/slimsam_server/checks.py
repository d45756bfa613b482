"""What must be so before tritonserver is started: each check raises one clear `ServerError`."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from slimsam_client.contract import DECODER, ENCODER, MODELS
from slimsam_server.errors import ServerError

ARTEFACTS: Final = {
    "openvino": ("model.xml", "model.bin"),
    "torchscript": ("model.pt",),
    "onnxruntime": ("model.onnx",),
}
RUNTIMES: Final = {"openvino": "openvino", "torchscript": "torch", "onnxruntime": "onnxruntime"}
"""The module that a target's stand-in imports."""
UNFIT: Final = re.compile(r"[^\w@%+=:,./~#^-]", re.ASCII)
"""What Triton 2.51's Python backend cannot have in a repository's path."""


def check_repository(directory: Path, target: str) -> None:
    """Check that a repository has its configurations and the target's artefacts."""
    if unfit := sorted(set(UNFIT.findall(str(directory)))):
        # Triton writes it into a shell's command line, unquoted, and waits for ever for what the
        # shell makes of it; the stub's Python takes ASCII alone.
        raise ServerError(
            f"model repository {str(directory)!r}: expected a path without spaces, quotes, other "
            f"signs of a shell and letters beyond ASCII, got {' '.join(map(repr, unfit))}, from "
            "which Triton's Python backend cannot start; move it, or give a link to it"
        )
    for model in MODELS:
        config = directory / model.name / "config.pbtxt"
        if not config.is_file():
            raise ServerError(
                f"model repository {directory}: expected {config}, found none; "
                "give --model-repository the project's model_repository/ or a copy of it"
            )
    for model in (ENCODER, DECODER):
        for name in ARTEFACTS[target]:
            artefact = directory / model.name / "1" / name
            if not artefact.is_file():
                raise ServerError(
                    f"model repository {directory}: expected {artefact}, found none; make it with "
                    f"`slimsam-build --checkpoint demo --target {target} "
                    f"--model-repository {directory}`"
                )


def check_port(port: int, purpose: str) -> None:
    """Check that a loopback port is free; 0 always is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ServerError(
                f"{purpose} port {port}: expected a free port on 127.0.0.1, got {error}; "
                f"stop what listens there, or give --{purpose}-port another (0: any free one)"
            ) from error


def check_interpreter(target: str, python: Path = Path(sys.prefix) / "bin" / "python3") -> None:
    """Check what the stub will find: NumPy 1 and the target's runtime.

    Args:
        target: whose runtime is needed.
        python: the interpreter whose packages the stub takes.
    """
    if shutil.which("bash") is None:
        raise ServerError("expected bash on PATH (Triton starts its stubs with it), found none")
    runtime = RUNTIMES[target]
    script = (
        "import importlib.util as u; from importlib.metadata import version as v;"
        f"print(u.find_spec('numpy') and v('numpy'), u.find_spec({runtime!r}) is not None,"
        " u.find_spec('slimsam_server') is not None)"
    )
    # -I as the stub: PYTHONPATH and the user's site-packages do not count.
    result = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True)
    if result.returncode:
        raise ServerError(
            f"{python}: expected a working interpreter for Triton's stub, got exit status "
            f"{result.returncode}: {result.stderr.strip().splitlines()[-1:]}"
        )
    numpy, has_runtime, has_server = result.stdout.split()
    if numpy == "None" or int(numpy.split(".")[0]) >= 2:
        raise ServerError(
            f"{python}: expected NumPy 1 (Triton 2.51's stub turns NumPy 2 arrays into empty "
            f"answers), found {'none' if numpy == 'None' else numpy}; "
            'run `pip install "numpy<2"` in this environment'
        )
    if has_runtime != "True":
        raise ServerError(
            f"{python}: target {target} expects the package {runtime}, found none; "
            f"run `pip install slimsam-server[{target}]` in this environment"
        )
    if has_server != "True":
        raise ServerError(
            f"{python}: expected slimsam-server among its own packages (PYTHONPATH does not count "
            "for Triton's stub), found none; install it in this environment"
        )
