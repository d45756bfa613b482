"""What must be so before tritonserver is started: each check raises one clear `ServerError`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from slimsam_client.contract import BULK_DECODER, DECODER, ENCODER, MASKS, MODELS
from slimsam_server.errors import ServerError
from slimsam_server.model_config import loaded_models
from slimsam_server.targets import SERVED_HERE, TARGETS

UNFIT: Final = re.compile(r"[^\w@%+=:,./~#^-]", re.ASCII)
"""What Triton 2.51's Python backend cannot have in a path of a repository, or of itself."""


def as_path(value: Any, name: str) -> Path:
    """Give a path of an argument; ServerError if it is none."""
    try:
        return Path(value).absolute()
    except TypeError as error:
        raise ServerError(f"{name}: expected a path, got {value!r}") from error


def check_target(target: Any) -> None:
    """Check that a target is one that can be served here."""
    if not isinstance(target, str) or target not in SERVED_HERE:
        raise ServerError(f"target: expected one of {', '.join(SERVED_HERE)}, got {target!r}")


def check_temporary_directory() -> None:
    """Check that the backends, which lie in it, can be started from it."""
    try:
        directory = Path(tempfile.gettempdir()).absolute()
    except OSError:
        return  # there is none, as whoever makes files in it will say
    _check_path(directory, "temporary directory", "name another one by TMPDIR")


def _check_path(directory: Path, what: str, advice: str) -> None:
    if unfit := sorted(set(UNFIT.findall(str(directory)))):
        # Triton writes it into a shell's command line, unquoted, and waits for ever for what the
        # shell makes of it; the stub's Python takes ASCII alone.
        raise ServerError(
            f"{what} {str(directory)!r}: expected a path without spaces, quotes, other "
            f"signs of a shell and letters beyond ASCII, got {' '.join(map(repr, unfit))}, from "
            f"which Triton's Python backend cannot start; {advice}"
        )


def check_repository(directory: Path, target: str) -> None:
    """Check that a repository has its configurations and the target's artifacts."""
    _check_path(directory, "model repository", "move it, or give a link to it")
    for model in MODELS:
        config = directory / model.name / "config.pbtxt"
        if not config.is_file():
            raise ServerError(
                f"model repository {directory}: expected {config}, found none; "
                "give --model-repository the project's model_repository/ or a copy of it"
            )
    loaded = loaded_models(directory, TARGETS[target].configuration)
    for model in (ENCODER, DECODER, BULK_DECODER, MASKS):
        if model.name not in loaded:
            continue
        for name in TARGETS[target].files:
            artifact = directory / model.name / "1" / name
            if not artifact.is_file():
                raise ServerError(
                    f"model repository {directory}: expected {artifact}, found none; make it with "
                    f"`slimsam-build build --checkpoint demo --target {target} "
                    f"--model-repository {directory}`"
                )


def check_interpreter(
    target: str | None, python: Path = Path(sys.prefix) / "bin" / "python3"
) -> None:
    """Check what the stub will find: NumPy 1 and the target's runtime.

    Args:
        target: whose runtime is needed; None: no runtime, since Triton's own backends bring it.
        python: the interpreter whose packages the stub takes.
    """
    if shutil.which("bash") is None:
        raise ServerError("expected bash on PATH (Triton starts its stubs with it), found none")
    runtime = TARGETS[target].runtime if target is not None else "numpy"
    script = (
        "import importlib.util as u; from importlib.metadata import version as v;"
        f"print(u.find_spec('numpy') and v('numpy'), u.find_spec({runtime!r}) is not None,"
        " u.find_spec('slimsam_server') is not None)"
    )
    # -I as the stub: PYTHONPATH and the user's site-packages do not count.
    try:
        result = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True)
    except OSError as error:
        raise ServerError(
            f"{python}: expected to start the interpreter of Triton's stub, got {error}; see to "
            "its file, and to limits of memory and processes"
        ) from error
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
