"""Steps for the attention kernel: alone, and in the encoder."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F
from triton.runtime.errors import OutOfResources

from benchmarks.attention_kernel import EXPONENTIALS, WINDOW, layer
from benchmarks.comparison.interleave import Call
from benchmarks.gpu import graph_steps, sides
from benchmarks.gpu.measure import cuda_events
from benchmarks.gpu.setting import Setting
from slimsam_build.attention_rule import Blocks, find_blocks, this_card
from slimsam_build.graphs.kernel_encoder import KernelEncoder
from slimsam_build.graphs.precision import DTYPES, cast
from slimsam_client.contract import EMBEDDING_SIZE, ENCODER

CHOICE: Final = tuple(
    Blocks(queries, warps, stages)
    for queries, warps in ((32, 2), (32, 4), (64, 2), (64, 4), (64, 8), (128, 4), (128, 8))
    for stages in (2, 3, 4)
)
"""Blocks that are tried on a card."""
FINALISTS: Final = 4
"""The fastest of the smallest batch, which are tried with larger ones."""
ERRORS: Final = {"fp16": 4e-3, "bf16": 3e-2}
"""By which a tile may differ from float64, relative to the largest value."""
CALLS: Final = 10
REPLAYS: Final = 7
TILE: Final = 64
"""Queries of a tile, which a difference is named by."""


def kernel(setting: Setting, precision: str, batches: Sequence[int]) -> graph_steps.Figures:
    """Check the kernel tile by tile, choose its blocks by time, and hold it against its bounds."""
    if setting.device != "cuda":
        return {"not done": "the kernel is compiled for a card; tests run it in the interpreter"}
    attention = setting.model().vision_encoder.layers[0].attn
    heads = attention.num_attention_heads
    width = -(-(attention.qkv.in_features // heads) // 8) * 8
    card = this_card(torch.device(setting.device))
    rule = find_blocks(card, width)
    rows = []
    for grid in (EMBEDDING_SIZE, WINDOW):
        choice: Sequence[Blocks] = CHOICE
        for batch in setting.sizes(*batches):
            groups = batch * (-(-EMBEDDING_SIZE // grid)) ** 2
            given = draw_inputs(groups, heads, grid, width, DTYPES[precision], setting.device)
            row = _row(given, precision, {rule, *choice})
            choice = sorted(row["seconds"], key=row["seconds"].__getitem__)[:FINALISTS]
            rows.append({"size": batch, "grid": grid, **_plain(row, rule)})
    return {"precision": precision, "width": width, "heads": heads, "layers": rows}


def _row(given: Sequence[Tensor], precision: str, choice: Collection[Blocks]) -> dict[str, Any]:
    """Measure one layer's attention."""
    from slimsam_build.attention_kernel import attend_in_blocks

    qkv, rel_h, rel_w = given
    grid, heads, width = rel_w.shape[0], qkv.shape[3], qkv.shape[4]
    expected = list(in_float64(*given))
    seconds: dict[Blocks, float] = {}
    failed: dict[Blocks, str] = {}
    for blocks in sorted(choice):
        call = partial(attend_in_blocks, qkv, rel_h, rel_w, blocks)
        try:
            check_tiles(call(), expected, ERRORS[precision])
            seconds[blocks] = _seconds(call)
        except (RuntimeError, OutOfResources) as error:
            failed[blocks] = str(error).split("\n")[0][:200]
    best = min(seconds.values())
    images = qkv.shape[0] / (-(-EMBEDDING_SIZE // grid)) ** 2
    counted = layer(width, heads, grid)
    card = torch.cuda.get_device_properties(qkv.device)
    clocks = best * 1e6 * torch.cuda.clock_rate(qkv.device) * card.multi_processor_count
    return {
        "seconds": seconds,
        "failed": failed,
        "with_bias_seconds": _seconds(partial(with_bias, *given)),
        "bytes_per_second": counted.read * images / best,
        "exponentials_per_clock": counted.exponentials * images / clocks,
        "most_exponentials_per_clock": EXPONENTIALS,
    }


def _plain(row: dict[str, Any], rule: Blocks) -> dict[str, Any]:
    """Make a row plain data, and name the blocks of the rule and the fastest."""
    seconds = row["seconds"]
    return {
        **row,
        "rule": rule,
        "best": min(seconds, key=seconds.__getitem__),
        "seconds": {str(tuple(blocks)): value for blocks, value in seconds.items()},
        "failed": {str(tuple(blocks)): why for blocks, why in row["failed"].items()},
    }


def check_tiles(found: Tensor, expected: Sequence[tuple[int, int, Tensor]], bound: float) -> None:
    """Compare with float64, and name the tile that differs most.

    Args:
        found: (G, grid * grid, heads, d), the kernel's.
        expected: group, head, and its (grid * grid, d).
        bound: relative to the largest value.

    Raises:
        AssertionError: a tile differs by more, or is no number.
    """
    for group, head, exact in expected:
        error = (found[group, :, head].double() - exact).abs() / exact.abs().max()
        error = error.amax(1).nan_to_num(torch.inf)
        worst = int(error.argmax())
        assert error[worst] <= bound, (
            f"group {group}, head {head}, queries {worst // TILE * TILE} to "
            f"{worst // TILE * TILE + TILE - 1}: differs by {float(error[worst]):.2g} of the "
            f"largest value, at most {bound:g}"
        )


def in_float64(qkv: Tensor, rel_h: Tensor, rel_w: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Attend in float64; the first and the last group are enough, of all heads."""
    n = rel_h.shape[0]
    for group in sorted({0, qkv.shape[0] - 1}):
        for head in range(qkv.shape[3]):
            q, k, v = qkv[group, :, :, head].double().unbind(1)
            h = rel_h[:, :, group, head].double().permute(0, 2, 1)  # (y, x, key row)
            w = rel_w[:, group, head].double().permute(1, 0, 2)  # (y, x, key column)
            bias = (h.unsqueeze(3) + w.unsqueeze(2)).reshape(n * n, n * n)
            yield group, head, torch.softmax(q @ k.T + bias, 1) @ v


def with_bias(qkv: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Do the same by PyTorch's own attention: the bias is written, aligned, and read."""
    groups, count, _, heads, _ = qkv.shape
    n = rel_h.shape[0]
    row = -(-count // 16) * 16
    bias = qkv.new_empty(groups, heads, count, row)[..., :count]
    torch.add(
        rel_h.permute(2, 3, 0, 4, 1).unsqueeze(5),
        rel_w.permute(1, 2, 3, 0, 4).unsqueeze(4),
        out=bias.unflatten(3, (n, n)).unflatten(2, (n, n)),
    )
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)


def encoders(setting: Setting, precision: str, batches: Sequence[int]) -> graph_steps.Figures:
    """Time the encoder with the kernel and without, step by step, as CUDA graphs and compiled."""
    model = setting.model()
    plain = cast(sides.GRAPHS[ENCODER](model).eval(), precision).to(setting.device)
    kernel = cast(KernelEncoder(model).eval(), precision).to(setting.device)
    found = {
        graph_steps.SAM_MODEL: sides.sam_model(model, setting.device, precision),
        "ours, PyTorch": _encoder(sides.graphs(model, setting.device, precision)[ENCODER], setting),
        "the same, CUDA graph": _encoder(plain, setting, captured),
        "with the kernel": _encoder(kernel, setting),
        "with it, CUDA graph": _encoder(kernel, setting, captured),
    }
    return graph_steps.times(setting, precision, "encode", setting.sizes(*batches), found)


def captured(call: Call) -> Call:
    """Capture a call as a CUDA graph, whose replays launch all kernels at once."""
    if not torch.cuda.is_available():
        return call
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()

    def replay(inputs: Call = call) -> Any:  # kept: a replay reads where they were
        graph.replay()
        return output

    return replay


def _encoder(
    model: sides.OnDevice, setting: Setting, wrap: Callable[[Call], Call] = lambda call: call
) -> sides.Side:
    side = sides.ours({ENCODER: model}, setting.device)

    def encode(batch: int) -> Call:
        with torch.inference_mode():
            return wrap(side.encode(batch))

    return sides.Side(encode, side.decode)


def draw_inputs(
    groups: int, heads: int, grid: int, width: int, dtype: torch.dtype, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw random inputs of `attention_kernel.grid_attention`."""
    generator = torch.Generator(device).manual_seed(grid)
    sizes = (
        (groups, grid * grid, 3, heads, width),
        (grid, grid, groups, heads, grid),
        (grid, groups, heads, grid, grid),
    )
    qkv, rel_h, rel_w = (
        torch.randn(size, generator=generator, device=device).to(dtype) for size in sizes
    )
    return qkv, rel_h, rel_w


def _seconds(call: Call) -> float:
    """Time a call by the card's clock, without its launch by Python, which takes longer."""

    def calls() -> None:
        for _ in range(CALLS):
            call()

    replay = captured(calls)
    replay()
    return statistics.median(cuda_events(replay)[0] for _ in range(REPLAYS)) / CALLS
