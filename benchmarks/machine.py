"""The machine that a benchmark runs on, and the versions of what it measures."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import torch

BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
"""Processor features with which products of bfloat16 are faster than those of float32."""
PACKAGES: Final = (
    "torch", "transformers", "openvino", "onnxruntime", "numpy", "nvidia-pytriton", "tensorrt",
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What results are compared by.

    Attributes:
        processor: its model, without marketing's punctuation.
        cores: that this process may use.
        bf16: whether the processor computes in bfloat16.
        gpu: the first GPU's name, or None.
    """

    processor: str
    cores: int
    bf16: bool
    gpu: str | None

    @property
    def file_name(self) -> str:
        """A name for its results, of lower-case letters, digits and dashes."""
        words = f"{self.processor} {self.cores} cores"
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def this_machine() -> Machine:
    """Look at /proc/cpuinfo, and at what PyTorch finds."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    return Machine(
        re.sub(r"\((R|TM|tm)\)", "", model[1]).strip() if model else platform.machine(),
        len(os.sched_getaffinity(0)),
        bool(flags and BF16_FLAGS & set(flags[1].split())),
        torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def versions() -> dict[str, str]:
    """Versions of what is measured, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
