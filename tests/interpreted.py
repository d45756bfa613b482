"""The attention kernel in its language's interpreter, which needs no GPU, in a process of its own.

Triton decides as it is imported whether kernels are compiled or interpreted, so whoever compiles
them cannot interpret them. Arrays go in and come back as float32, and are of `dtype` in between.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@contextmanager
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """Start a process that interprets what is submitted of this module."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_interpret) as pool:
        yield pool


def _interpret() -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    import torch
    from triton.language import bfloat16, float32
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    plain: Any = InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        # The interpreter keeps bfloat16 as 16 bits, and multiplies them as if they were integers.
        if a.dtype == bfloat16:
            a, b = (
                TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), float32)
                for x in (a, b)
            )
        return plain(self, a, b, *others)

    InterpreterBuilder.create_dot = create_dot


def _queries_of_a_block(queries: int | None) -> None:
    """Cut the grid up in blocks of so many queries; None: as on a card."""
    from slimsam_build import attention_kernel, attention_rule

    attention_kernel.find_blocks = lambda card, head_dim: (
        attention_rule.find_blocks(card, head_dim)
        if queries is None
        else attention_rule.Blocks(queries, 4, 2)
    )


def grid_attention(
    qkv: Array, rel_h: Array, rel_w: Array, dtype: str, queries: int | None = None
) -> Array:
    """Run `attention_kernel.grid_attention`."""
    import torch

    from slimsam_build import attention_kernel

    _queries_of_a_block(queries)
    given = (torch.from_numpy(x).to(getattr(torch, dtype)) for x in (qkv, rel_h, rel_w))
    return attention_kernel.grid_attention(*given).float().numpy()


def attention(source: Any, grid: int, tokens: Array, dtype: str) -> Array:
    """Run the attention of `KernelEncoder` with the weights of a `SamVisionAttention`."""
    import torch

    from slimsam_build.graphs.kernel_encoder import KernelVisionAttention

    _queries_of_a_block(None)
    with _kernel_alone():
        graph = KernelVisionAttention(source, grid).to(getattr(torch, dtype))
        return graph(torch.from_numpy(tokens).to(getattr(torch, dtype))).float().numpy()


def encoder(model: Any, image: NDArray[np.uint8], input_size: NDArray[np.int32]) -> Array:
    """Run `KernelEncoder`, in float32: this interpreter converts halves slowly."""
    import torch

    from slimsam_build.graphs.kernel_encoder import KernelEncoder

    _queries_of_a_block(1024)  # each is interpreted anew
    with _kernel_alone():
        graph = KernelEncoder(model).eval()
        return graph(torch.from_numpy(image), torch.from_numpy(input_size)).numpy()


@contextmanager
def _kernel_alone() -> Iterator[None]:
    """Make sure that it is the kernel which computes."""
    from slimsam_build.graphs import fused_encoder

    plain = fused_encoder.attend
    del fused_encoder.attend
    try:
        yield
    finally:
        fused_encoder.attend = plain
