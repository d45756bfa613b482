"""The backend directory: Triton's Python backend, and the C++ backends or stand-ins for them.

Triton lets `backends/NAME/model.py` stand in for a missing `libtriton_NAME.so`, so the repository's
configurations are served unchanged.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from slimsam_server.native_backends import link_backend
from slimsam_server.tritonserver import stub_path, wheel_directory

STAND_INS = Path(__file__).parent / "backends"


def assemble(directory: Path, target: str = "openvino", backends: Path | None = None) -> Path:
    """Fill a new directory with everything that `--backend-directory` needs.

    Args:
        directory: where to; it is created.
        target: whose C++ backend is needed; of stand-ins it gets all.
        backends: a directory with Triton's C++ backends; None: stand-ins.

    Returns:
        The directory.

    Raises:
        ServerError: the wheel has no stub for this Python; or OpenVINO's libraries are missing.
        OSError: the directory cannot be written.
    """
    python = directory / "python"
    python.mkdir(parents=True)
    for file in (wheel_directory() / "backends" / "python").iterdir():
        if file.is_file():
            shutil.copy2(file, python)  # Triton refuses a link for the library of stand-ins
    stub = python / "triton_python_backend_stub"
    shutil.copy2(stub_path(), stub)
    stub.chmod(0o755)  # some installers drop the bit
    if backends is not None:
        link_backend(backends, target, directory)
        return directory
    for stand_in in STAND_INS.iterdir():
        if (stand_in / "model.py").is_file():
            (directory / stand_in.name).mkdir()
            shutil.copy2(stand_in / "model.py", directory / stand_in.name)
    return directory
