"""What is tried of the encoder's plan with the attention kernel, in processes that may die of it.

`attention_choice` calls these functions by `Apart`. Loaded plans stay loaded for the next call.
"""

from __future__ import annotations

import functools
import importlib
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from slimsam_build.graphs.example import example_inputs
from slimsam_build.targets.tensorrt.attention_plugin import register
from slimsam_build.targets.tensorrt.builder import Recipe, build_serialized
from slimsam_build.targets.tensorrt.plan import OnDevice, load_on_device, run_on_arrays
from slimsam_client.contract import ENCODER, Arrays

RUNS: Final = 20
"""Of each plan and batch, in turn, after three that do not count; the median does."""

Times = dict[int, float]
"""Seconds of a batch on the card, by its rows."""


def build_with_plugin(recipe: Recipe, path: Path) -> None:
    """Build a plan of a file that has the plugin's node.

    Raises:
        TargetError: this TensorRT has no such plugins, or does not take the graph.
    """
    register()
    trt: Any = importlib.import_module("tensorrt")
    plan, _ = build_serialized(trt, trt.Logger(trt.Logger.WARNING), recipe)
    path.write_bytes(plan)


@functools.cache
def _loaded(path: Path, rows: int) -> OnDevice:
    return load_on_device(path, ENCODER, rows)


def run_plan(path: Path, rows: int, arrays: Arrays) -> Arrays:
    """Run an encoder's plan, built for batches of so many rows, on arrays."""
    return run_on_arrays(_loaded(path, rows), ENCODER, arrays)


def times_of(plans: Mapping[str, Path], rows: int) -> dict[str, Times]:
    """Time encoders' plans, in turn, on one image and on a full batch.

    Args:
        plans: by any name.
        rows: of a full batch.

    Returns:
        By name.
    """
    found: dict[str, Times] = {name: {} for name in plans}
    for count in sorted({1, rows}):
        images = [each.repeat_interleave(count, 0).cuda() for each in example_inputs(ENCODER)]
        seconds: dict[str, list[float]] = {name: [] for name in plans}
        for turn in range(-3, RUNS):
            for name, path in plans.items():
                execute = _loaded(path, rows)
                torch.cuda.synchronize()
                start = time.perf_counter()
                execute(*images)
                torch.cuda.synchronize()
                if turn >= 0:
                    seconds[name].append(time.perf_counter() - start)
        for name, values in seconds.items():
            found[name][count] = statistics.median(values)
    return found
