"""The GPU and the TensorRT of this machine, which a plan is bound to.

Standard library only: a server that checks its artifacts has no PyTorch.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (Path("/usr/lib"), Path("/usr/local"))
LIST = ("nvidia-smi", "-L")
QUERY = ("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Machine:
    """What a plan is bound to.

    Attributes:
        tensorrt: TensorRT's version, three numbers, or None where there is none.
        gpu: name of the first GPU, or None.
        compute_capability: of it, as "9.0", or None.
        driver: version of its driver, or None.
        slice: the MIG profile of its part that is this machine's, such as "1g.10gb"; None for all.
    """

    tensorrt: str | None
    gpu: str | None
    compute_capability: str | None
    driver: str | None
    slice: str | None = None


def this_machine() -> Machine:
    """Ask TensorRT's package, NVIDIA's image (TRT_VERSION) or its library, and nvidia-smi."""
    try:
        tensorrt: str | None = version("tensorrt")
    except PackageNotFoundError:
        tensorrt = os.environ.get("TRT_VERSION")
    if not tensorrt:
        tensorrt = _library_version()
    if tensorrt:
        tensorrt = ".".join(tensorrt.split("+")[0].split(".")[:3])
    try:
        asked = subprocess.run(QUERY, check=True, capture_output=True, text=True, timeout=30)
        gpu, capability, driver = (
            field.strip() for field in asked.stdout.split("\n")[0].split(",")
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return Machine(tensorrt or None, None, None, None)
    return Machine(tensorrt or None, gpu, capability, driver, _slice())


def _slice() -> str | None:
    """The MIG profile in nvidia-smi's list, whose query names the whole GPU."""
    try:
        asked = subprocess.run(LIST, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"^\s+MIG (\S+)\s+Device", asked.stdout, re.M)
    return found and found[1]


def _library_version() -> str | None:
    """The version in the name of the installed library, as in libnvinfer.so.10.13.3."""
    for directory in LIBRARIES:
        for path in sorted(directory.glob("*/libnvinfer.so.*.*.*")):
            return path.name.split(".so.")[1]
    return None
