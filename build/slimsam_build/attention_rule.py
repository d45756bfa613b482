"""Where the attention kernel runs, and in which blocks; without the package `triton`.

The blocks for SlimSAM-77's heads on compute capability 9.0 are the fastest of 21 on an H200 (`make
gpu`, step kernel): for whole grids, and for the windows of eight images. No other card was at hand.
The others were chosen by what NVIDIA's assembler says of blocks of 64 and 128 queries, 4 and 8
warps, 2 and 3 stages, on each card (`benchmarks.attention_kernel --all`): of those that spill
nothing and leave 15 of a thread's 255 registers, the ones with the most queries under way on a
multiprocessor; of equals the most warps, which hide each other's waiting; and of equals the
smallest.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Final, NamedTuple

import torch

DTYPES: Final = (torch.float16, torch.bfloat16)
"""Products of float32 would be TF32's, which are less exact than those of the plain form."""


class Blocks(NamedTuple):
    """How the kernel is cut up.

    Attributes:
        queries: of one program.
        warps: that compute a program, of 32 threads each.
        stages: blocks of keys and values under way from memory.
    """

    queries: int
    warps: int
    stages: int


_USUAL: Final = {
    16: Blocks(64, 4, 2),
    32: Blocks(64, 4, 2),
    64: Blocks(64, 4, 2),
    80: Blocks(64, 4, 2),
}
BLOCKS: Final[dict[int, dict[int, Blocks]]] = {
    80: _USUAL,
    86: _USUAL,
    89: _USUAL,
    90: {**_USUAL, 16: Blocks(64, 4, 3)},
    100: {**_USUAL, 16: Blocks(64, 8, 2)},
    120: _USUAL,
}
"""By the card's compute capability, times ten, and channels of a head: 16 are SlimSAM-77's 14,
padded; 32 SlimSAM-50's and the demo's, 64 SAM-B's and -L's, 80 -H's. A card between two takes the
lower one's.
"""
WIDTHS: Final = tuple(_USUAL)


def find_blocks(card: int, head_dim: int) -> Blocks:
    """Give the blocks for a card.

    Args:
        card: its compute capability, times ten; 80 or more.
        head_dim: of `WIDTHS`.
    """
    return BLOCKS[max(known for known in BLOCKS if known <= card)][head_dim]


def this_card(device: torch.device) -> int:
    """Give the compute capability of a device, times ten; in the interpreter that of the least."""
    if interpreted():
        return min(BLOCKS)
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on a CPU; a setting of the package `triton`."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def refusal(device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    """Say why the kernel does not run on such tensors, so that the plain form has to; or None.

    Args:
        device: where the tensors are.
        dtype: of the tensors.
        head_dim: channels of a head, padded as `VisionAttention` pads them.
    """
    if head_dim not in WIDTHS:
        widths = ", ".join(map(str, WIDTHS))
        return f"heads of {head_dim} channels; the kernel has those of {widths}"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if interpreted():
        return None
    if dtype not in DTYPES:
        return f"{dtype} on a GPU; the kernel computes in float16 and bfloat16"
    if device.type != "cuda" or torch.version.hip is not None:
        return f"device {device.type}; the kernel runs on NVIDIA's GPUs"
    # On 7.5 the compiler makes no matrix instructions of it, and spills registers.
    if (card := this_card(device)) < min(BLOCKS):
        return f"compute capability {card / 10}; the kernel needs {min(BLOCKS) / 10}"
    return None
