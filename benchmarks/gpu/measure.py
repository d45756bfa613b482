"""Times, memory and agreement of sides, whose calls leave their work to a device."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.comparison.agreement import difference
from benchmarks.comparison.interleave import (
    Call,
    Timer,
    Unsupported,
    first_calls,
    in_turn,
    wall_clock,
)


def timer_of(device: str) -> Timer:
    """Choose the clock: the card's own, or the wall's for a CPU."""
    return cuda_events if device == "cuda" else wall_clock


def cuda_events(call: Call) -> tuple[float, Any]:
    """Time what a call leaves to the card."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    try:
        output = call()
    except torch.cuda.OutOfMemoryError as error:
        raise Unsupported(f"out of memory: {error}".split("\n")[0]) from error
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000, output


def compare(
    calls: Mapping[str, Call], expected: Call, precision: str, device: str, rounds: int
) -> dict[str, dict[str, Any]]:
    """Compare the sides' answers with float32's, and time the sides in turn.

    Args:
        calls: by side.
        expected: `SamModel` in float32.
        precision: whose bounds the answers of all sides should keep.
        device: where they compute.
        rounds: how many turns each side has.

    Returns:
        By side: median `seconds`, all `times`, `bytes` that a call takes on the card besides
        weights and inputs (None on a CPU), and how it `differs`, or None; or why it is `absent`.
    """
    timer = timer_of(device)
    with torch.inference_mode():
        exact = _last_row(expected())
        first = first_calls(calls, timer)
        differing = {
            side: difference(exact, _last_row(output), precision)
            for side, output in first.outputs.items()
        }
        first.outputs.clear()
        able = {side: calls[side] for side in first.seconds}
        memory = {side: _bytes(call, device) for side, call in able.items()}
        times = in_turn(able, rounds, able, timer)
    found: dict[str, dict[str, Any]] = {
        side: {
            "seconds": statistics.median(times[side]),
            "times": times[side],
            "bytes": memory[side],
            "differs": differing[side],
        }
        for side in able
    }
    return {**found, **{side: {"absent": reason} for side, reason in first.absent.items()}}


def _bytes(call: Call, device: str) -> int | None:
    """Measure what PyTorch allocates during a call; a plan's own scratch memory is not among it."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _last_row(outputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Bring outputs to the CPU, of a batch of embeddings the last, which none should spoil."""
    return {
        name: (tensor[-1] if name == "image_embeddings" else tensor).float().cpu().numpy()
        for name, tensor in outputs.items()
    }
