"""What of this machine artifacts are bound to: its GPU and TensorRT, or the code it can run.

Standard library only: a server that checks its artifacts has no PyTorch.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

LIBRARIES = (Path("/usr/lib"), Path("/usr/local"))
LIST = ("nvidia-smi", "-L")
QUERY = ("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
PROCESSOR = Path("/proc/cpuinfo")
BOUND_TO: Final = {
    "tensorrt": ("tensorrt", "gpu", "compute_capability"),
    # What a compiler makes for the GPU, and for the processor that it runs on.
    "torch_aoti": ("compute_capability", "architecture", "instructions"),
}
"""Attributes of `Machine` that a target's artifacts are bound to; those of others fit any."""
CALLED: Final = {"tensorrt": "TensorRT", "gpu": "GPU", "compute_capability": "compute capability"}
COMPILED_FOR: Final = re.compile(
    r"abm|adx|aes|amx|avx|bmi|f16c|fma|gfni|movbe|pclmul|pni|popcnt|sha_|s?sse|vaes|vpclmul"
)
"""How the flags of a processor begin that compilers use; most others are the kernel's affair."""


@dataclass(frozen=True)
class Machine:
    """What artifacts are bound to.

    Attributes:
        tensorrt: TensorRT's version, three numbers, or None where there is none.
        gpu: name of the first GPU, or None.
        compute_capability: of it, as "9.0", or None.
        driver: version of its driver, or None.
        slice: the MIG profile of its part that is this machine's, such as "1g.10gb"; None for all.
        architecture: the processor's, as "x86_64".
        instructions: the sets of instructions that the processor has, by Linux's names, in order.
    """

    tensorrt: str | None
    gpu: str | None
    compute_capability: str | None
    driver: str | None
    slice: str | None = None
    architecture: str | None = None
    instructions: str = ""

    def without_gpu(self) -> Machine:
        """Give the same machine as what runs on its processor alone sees it."""
        return replace(self, gpu=None, compute_capability=None, driver=None, slice=None)

    def differences(self, target: str, bound_to: Mapping[str, Any] | None) -> list[str]:
        """Say what artifacts were made for that this machine is not.

        Args:
            target: of the artifacts.
            bound_to: what their report has under this name; all of BOUND_TO if it has any.
        """
        if bound_to is None:
            return ["a machine that their report does not name"] if target in BOUND_TO else []
        found = []
        for name in BOUND_TO.get(target, ()):
            made, here = bound_to[name], getattr(self, name)
            if name == "instructions":  # of which a processor may have more
                if missing := set(made.split()) - set(here.split()):
                    words = " ".join(sorted(missing))
                    found.append(f"a processor with {words}, which the one here has not")
            elif made != here:
                called = CALLED.get(name, name)
                found.append(f"{called} {made or 'none'}, here is {here or 'none'}")
        return found


def this_machine() -> Machine:
    """Ask TensorRT's package, NVIDIA's image (TRT_VERSION) or its library, nvidia-smi and Linux."""
    try:
        tensorrt: str | None = version("tensorrt")
    except PackageNotFoundError:
        tensorrt = os.environ.get("TRT_VERSION")
    if not tensorrt:
        tensorrt = _library_version()
    if tensorrt:
        tensorrt = ".".join(tensorrt.split("+")[0].split(".")[:3])
    processor = platform.machine(), _instructions()
    try:
        asked = subprocess.run(QUERY, check=True, capture_output=True, text=True, timeout=30)
        gpu, capability, driver = (
            field.strip() for field in asked.stdout.split("\n")[0].split(",")
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return Machine(tensorrt or None, None, None, None, None, *processor)
    return Machine(tensorrt or None, gpu, capability, driver, _slice(), *processor)


def _instructions() -> str:
    try:
        text = PROCESSOR.read_text("utf-8")
    except OSError:
        return ""
    # "flags" on x86, "Features" on ARM, where they are few and all of them instructions.
    found = re.search(r"^(flags|Features)\s*:\s*(.+)$", text, re.M)
    if found is None:
        return ""
    names = found[2].split()
    if found[1] == "flags":
        names = [name for name in names if COMPILED_FOR.match(name)]
    return " ".join(sorted(names))


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
