"""The backend directory: Triton's Python backend, and our stand-ins for backends it lacks.

Triton lets `backends/NAME/model.py` stand in for a missing `libtriton_NAME.so`, so the repository's
configurations are served unchanged.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from slimsam_server.tritonserver import stub_path, wheel_directory

STAND_INS = Path(__file__).parent / "backends"


def assemble(directory: Path) -> Path:
    """Fill a new directory with everything that `--backend-directory` needs.

    Args:
        directory: where to; it is created.

    Returns:
        The directory.
    """
    python = directory / "python"
    python.mkdir(parents=True)
    for file in (wheel_directory() / "backends" / "python").iterdir():
        if file.is_file():
            shutil.copy2(file, python)
    stub = python / "triton_python_backend_stub"
    shutil.copy2(stub_path(), stub)
    stub.chmod(0o755)  # some installers drop the bit
    for stand_in in STAND_INS.iterdir():
        if (stand_in / "model.py").is_file():
            (directory / stand_in.name).mkdir()
            shutil.copy2(stand_in / "model.py", directory / stand_in.name)
    return directory
