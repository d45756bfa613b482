"""The machine that a benchmark runs on: which it is, and what its arithmetic can do at most."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch
from interleave import Timer, wall_clock
from torch import nn

BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
"""Processor features with which products of bfloat16 are faster than those of float32."""
SIDES: Final = (1024, 2048, 3072)
"""Of the matrices that are multiplied: small ones stay in cache, large ones hide their overhead."""
REPETITIONS: Final = 4
PACKAGES: Final = ("torch", "transformers", "openvino", "onnxruntime", "numpy", "nvidia-pytriton")


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
    """Versions of what is measured."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def gemm_peak(
    dtype: torch.dtype,
    device: str = "cpu",
    sides: Sequence[int] = SIDES,
    timer: Timer = wall_clock,
) -> float:
    """Measure the fastest product of two square matrices.

    The weight's matrix is tried in both orders, because libraries differ in which they like.

    Args:
        dtype: of the matrices.
        device: where they are.
        sides: their sizes.
        timer: of a product.

    Returns:
        GFLOP/s, the best of all.
    """
    best = 0.0
    with torch.inference_mode():
        for side in sides:
            a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
            for product in (partial(torch.matmul, a, b), partial(nn.functional.linear, a, b)):
                product()
                for _ in range(REPETITIONS):
                    best = max(best, 2 * side**3 / timer(product)[0] / 1e9)
    return best
