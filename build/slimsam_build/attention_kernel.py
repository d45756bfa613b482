"""The encoder's attention as one kernel that adds both relative positions where the scores are.

For each image or window and each head: softmax(q k^T + rel_h + rel_w) v over a square grid of
tokens, where `rel_h` depends on the query and the key's grid row, and `rel_w` on the query and the
key's grid column (ViTDet's decomposed positions, arXiv 2203.16527). A runtime without such a kernel
writes the sum for every pair of tokens and reads it again, 0.8 GB for a global layer of SlimSAM-77.
Here a block of keys is one row of the grid. So `rel_h` is one number per query and block, which
joins the row's maximum and never a score; and the numbers of `rel_w` are the same for every block,
loaded once. The softmax is online (Milakov and Gimelshein, arXiv 1805.02867), in float32 and in
powers of 2, whatever the inputs are.

The kernel is written in Triton, OpenAI's language for GPU kernels and the package `triton`, which
has nothing to do with Triton Inference Server. It needs that package; a machine that does not use
the kernel does not.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from slimsam_build.attention_rule import Blocks, find_blocks, this_card

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def attention_kernel(
    qkv,
    rel_h,
    rel_w,
    out,
    HEADS: tl.constexpr,
    GRID: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    REST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Attend from a block of queries of one head and group to all keys; see `grid_attention`.

    It is launched for (blocks, HEADS, groups), where a group is an image or a window.

    Args:
        qkv: (groups, GRID * GRID, 3, HEADS, WIDTH + REST).
        rel_h: (GRID query rows, GRID key rows, groups, HEADS, GRID query columns).
        rel_w: (GRID query columns, groups, HEADS, GRID query rows, GRID key columns).
        out: (groups, GRID * GRID, HEADS, WIDTH + REST).
        HEADS: how many heads.
        GRID: side of the grid of tokens.
        COLUMNS: GRID, padded to a power of 2 of at least 16.
        WIDTH: channels of a head, or the largest power of 2 in them.
        REST: its other channels, a power of 2 of at least 16, or 0.
        BLOCK: queries of one program, a power of 2.
    """
    block, head, group = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    # From the launch, not an argument: inputs, then outputs, are what TensorRT passes in any case.
    groups = tl.num_programs(2)
    CHANNELS: tl.constexpr = WIDTH + REST
    STEP: tl.constexpr = 3 * HEADS * CHANNELS  # from a token to the next
    query = block * BLOCK + tl.arange(0, BLOCK)
    token = tl.minimum(query, GRID * GRID - 1)  # the last block may reach beyond the grid
    y, x = token // GRID, token % GRID
    column = tl.arange(0, COLUMNS)
    channel = tl.arange(0, WIDTH)
    rest = WIDTH + tl.arange(0, max(REST, 1))

    # A batch may have more numbers than 32 bits count.
    group64 = group.to(tl.int64)
    first = qkv + group64 * (GRID * GRID * STEP) + head * CHANNELS
    q_at = first + token[:, None] * STEP
    q = tl.load(q_at + channel[None, :])
    if REST:
        q_rest = tl.load(q_at + rest[None, :])
    h_at = rel_h + ((y * (GRID * groups) + group) * HEADS + head) * GRID + x
    w_at = rel_w + (((x * groups + group) * HEADS + head) * GRID + y) * GRID
    # A column that only fills the block up has weight 0 in every row.
    inside = (column < GRID)[None, :]
    w = tl.load(w_at[:, None] + column[None, :], mask=inside, other=float("-inf"))
    w = w.to(tl.float32) * LOG2E

    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    mean = tl.zeros((BLOCK, WIDTH), tl.float32)
    if REST:
        mean_rest = tl.zeros((BLOCK, REST), tl.float32)
    for row in range(GRID):
        key = row * GRID + tl.minimum(column, GRID - 1)
        k_at = first + HEADS * CHANNELS + key[:, None] * STEP
        scores = tl.dot(q, tl.trans(tl.load(k_at + channel[None, :])))
        if REST:
            scores = tl.dot(q_rest, tl.trans(tl.load(k_at + rest[None, :])), scores)
        scores = scores * LOG2E + w
        h = tl.load(h_at + row * (groups * HEADS * GRID)).to(tl.float32) * LOG2E
        new_top = tl.maximum(top, tl.max(scores, 1) + h)
        weights = tl.exp2(scores - (new_top - h)[:, None])
        kept = tl.exp2(top - new_top)
        total = total * kept + tl.sum(weights, 1)
        weights = weights.to(q.dtype)
        v_at = k_at + HEADS * CHANNELS
        mean = tl.dot(weights, tl.load(v_at + channel[None, :]), mean * kept[:, None])
        if REST:
            v_rest = tl.load(v_at + rest[None, :])
            mean_rest = tl.dot(weights, v_rest, mean_rest * kept[:, None])
        top = new_top

    out_at = out + group64 * (GRID * GRID * HEADS * CHANNELS)
    out_at += token[:, None] * (HEADS * CHANNELS) + head * CHANNELS
    there = (query < GRID * GRID)[:, None]
    mean = (mean / total[:, None]).to(out.dtype.element_ty)
    tl.store(out_at + channel[None, :], mean, mask=there)
    if REST:
        mean_rest = (mean_rest / total[:, None]).to(out.dtype.element_ty)
        tl.store(out_at + rest[None, :], mean_rest, mask=there)


@triton_op("slimsam::grid_attention", mutates_args=())
def grid_attention(qkv: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attend over square grids of tokens, with decomposed relative positions.

    Args:
        qkv: (G, grid * grid, 3, heads, d): queries, scaled; keys; values. d is of
            `attention_rule.WIDTHS`.
        rel_h: (grid, grid, G, heads, grid): by the query's grid row, the key's grid row, group,
            head and the query's grid column, of the same dtype.
        rel_w: (grid, G, heads, grid, grid): by the query's grid column, group, head, the query's
            grid row and the key's grid column.

    Returns:
        (G, grid * grid, heads, d), of the same dtype.
    """
    return attend_in_blocks(qkv, rel_h, rel_w, find_blocks(this_card(qkv.device), qkv.shape[4]))


def attend_in_blocks(qkv: Tensor, rel_h: Tensor, rel_w: Tensor, blocks: Blocks) -> Tensor:
    """Do `grid_attention` in given blocks; the other arguments and the result are its own."""
    groups, count, _, heads, d = qkv.shape
    grid = rel_h.shape[0]
    out = torch.empty((groups, count, heads, d), dtype=qkv.dtype, device=qkv.device)
    programs = (triton.cdiv(count, blocks.queries), heads, groups)
    wrap_triton(attention_kernel)[programs](
        qkv.contiguous(),
        rel_h.contiguous(),
        rel_w.contiguous(),
        out,
        **sizes(grid, heads, d, blocks.queries),
        num_warps=blocks.warps,
        num_stages=blocks.stages,
    )
    return out


def sizes(grid: int, heads: int, d: int, queries: int) -> dict[str, int]:
    """Give the kernel's constants, by their names, for heads of d channels."""
    width = 1 << (d.bit_length() - 1)
    return {
        "HEADS": heads,
        "GRID": grid,
        "COLUMNS": max(16, triton.next_power_of_2(grid)),
        "WIDTH": width,
        "REST": d - width,
        "BLOCK": queries,
    }


def compile_for(
    card: int,
    dtype: str,
    heads: int,
    grid: int,
    d: int,
    blocks: Blocks,
    ptx_version: int | None = None,
) -> Any:
    """Compile the kernel for a card that need not be there.

    Args:
        card: its compute capability, times ten.
        dtype: of the tensors, in Triton's spelling: "fp16" or "bf16".
        heads: how many.
        grid: side of the grid of tokens.
        d: channels of a head.
        blocks: how it is cut up.
        ptx_version: of NVIDIA's intermediate code, times ten; None leaves Triton's own.

    Returns:
        Triton's `CompiledKernel`: `asm` has "ptx" and "cubin", `metadata` its launch.
    """
    constants = sizes(grid, heads, d, blocks.queries)
    tensors = dict.fromkeys(("qkv", "rel_h", "rel_w", "out"), f"*{dtype}")
    source = ASTSource(
        fn=attention_kernel,
        signature={**tensors, **dict.fromkeys(constants, "constexpr")},
        constexprs=constants,
        # Addresses are multiples of 16: PyTorch and TensorRT allocate in lots of 256 bytes or more.
        attrs={(index,): [["tt.divisibility", 16]] for index in range(len(tensors))},
    )
    options = {
        "num_warps": blocks.warps,
        "num_stages": blocks.stages,
        "ptx_version": ptx_version,
    }
    return triton.compile(source, target=GPUTarget("cuda", card, 32), options=options)
