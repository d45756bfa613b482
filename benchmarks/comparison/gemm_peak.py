"""What a machine's arithmetic can do at most: the limit that results are held against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import torch
from torch import nn

from benchmarks.comparison.interleave import Timer, wall_clock

SIDES: Final = (1024, 2048, 3072)
"""Of the matrices that are multiplied: small ones stay in cache, large ones hide their overhead."""
REPETITIONS: Final = 4


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
