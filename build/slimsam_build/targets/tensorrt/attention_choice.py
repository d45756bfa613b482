"""The encoder's plan with the attention kernel and without: both on the card, the faster is kept.

The plan with the kernel is built in one process and run in another, so that whatever it does to
either ends in the plan without it. The second process has no plugin: like Triton, it has the plan
alone.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from slimsam_build import attention_rule
from slimsam_build.apart import Apart
from slimsam_build.errors import BuildError, ParityError, TargetError, reason
from slimsam_build.graphs.plugin_encoder import PluginEncoder
from slimsam_build.graphs.precision import DTYPES
from slimsam_build.graphs.vision_attention import VECTOR
from slimsam_build.parity import Measured
from slimsam_build.repository import ARTIFACTS
from slimsam_build.targets.target import Chosen, Gate, Job, Run
from slimsam_build.targets.tensorrt import attention_plugin, attention_trial
from slimsam_build.targets.tensorrt.attention_trial import Times
from slimsam_build.targets.tensorrt.builder import Recipe
from slimsam_build.targets.tensorrt.plan import TIMING_CACHE, profile_shapes
from slimsam_client.contract import ENCODER, Arrays

BUILD_SECONDS: Final = 3600
RUN_SECONDS: Final = 300
KERNEL_PLAN: Final = "model.kernel.plan"
"""While it is tried."""


@dataclass(frozen=True)
class WithKernel:
    """A plan with the kernel that passed the gate.

    Attributes:
        measured: by the gate.
        seconds: its times.
        plain_seconds: those of the plan without the kernel.
    """

    measured: Measured
    seconds: Times
    plain_seconds: Times

    @property
    def faster(self) -> bool:
        """Whether it computes one image and a full batch in less time, each of them."""
        return all(self.seconds[rows] < other for rows, other in self.plain_seconds.items())

    def __str__(self) -> str:
        return ", ".join(
            f"{rows} {'image' if rows == 1 else 'images'} in {1e3 * self.seconds[rows]:.2f} ms "
            f"with it and {1e3 * other:.2f} ms without"
            for rows, other in self.plain_seconds.items()
        )


def choose(job: Job, folder: Path, plain: Run, gate: Gate) -> Chosen:
    """Keep the encoder's plan with the kernel if it passes the gate and is faster.

    Where the plan without the kernel fails the gate, the other takes its place in any case.

    Args:
        job: what is built.
        folder: where the plan without the kernel lies, and the chosen one will.
        plain: the plan without the kernel, loaded.
        gate: measures an encoder, and raises a `ParityError` where it misses the bounds.

    Raises:
        ParityError: no plan passes the gate.
    """
    place = folder / ARTIFACTS["tensorrt"][0]
    path = folder / KERNEL_PLAN
    try:
        measured: Measured | ParityError = gate(plain)
    except ParityError as error:
        measured = error
    found: WithKernel | None = None
    kept = False
    try:
        found = _try_kernel(job, path, place, gate)
        why = f"with it the plan was not faster: {found}"
        if isinstance(measured, ParityError) or found.faster:
            path.replace(place)
            kept = True
    # Whatever goes wrong with a plan that nobody needs must not end the build.
    except Exception as error:
        why = str(error) if isinstance(error, BuildError) else reason(error)
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".onnx").unlink(missing_ok=True)
    if found is not None and kept:
        return _chosen(job, found.measured, found, "kernel", str(found))
    if isinstance(measured, ParityError):
        raise measured
    return _chosen(job, measured, found, "plain", why)


def _chosen(
    job: Job, measured: Measured, found: WithKernel | None, form: str, because: str
) -> Chosen:
    has = "has" if form == "kernel" else "does not have"
    job.log(f"{ENCODER.name}: the plan {has} the attention kernel: {because}")
    seconds = found and {"kernel": found.seconds, "plain": found.plain_seconds}
    return Chosen(measured, {"attention": {"form": form, "because": because, "seconds": seconds}})


def _try_kernel(job: Job, path: Path, plain: Path, gate: Gate) -> WithKernel:
    """Build the plan with the kernel, gate it, and time both.

    Raises:
        TargetError: it cannot be built or run here.
        ParityError: it does not compute what the checkpoint computes.
    """
    if why := refusal(job):
        raise TargetError(why)
    recipe = export(job, path.with_suffix(".onnx"))
    rows = job.max_batch_size(ENCODER)
    with Apart() as apart:
        apart.call(BUILD_SECONDS, attention_trial.build_with_plugin, recipe, path)
    with Apart() as apart:

        def run(arrays: Arrays) -> Arrays:
            return apart.call(RUN_SECONDS, attention_trial.run_plan, path, rows, arrays)

        measured = gate(run)
        plans = {"kernel": path, "plain": plain}
        seconds = apart.call(RUN_SECONDS, attention_trial.times_of, plans, rows)
    # The gate has timed the way to the other process, too.
    measured = replace(measured, encode_seconds=seconds["kernel"][1])
    return WithKernel(measured, seconds["kernel"], seconds["plain"])


def export(job: Job, onnx_path: Path) -> Recipe:
    """Export the encoder with the plugin's nodes, and say how its plan is built."""
    graph = PluginEncoder(job.checkpoint.model).eval()
    attention_plugin.export(graph, ENCODER, onnx_path, job.precision)
    cache = job.place(ENCODER) / TIMING_CACHE
    return Recipe(
        onnx_path=onnx_path,
        profiles=profile_shapes(ENCODER, job.max_batch_size(ENCODER)),
        precision=job.precision,
        workspace_mib=job.workspace_mib,
        # What the plan without the kernel has measured; this plan adds nothing that lasts.
        timing_cache=cache.read_bytes() if cache.exists() else b"",
    )


def refusal(job: Job) -> str | None:
    """Say why the kernel cannot be in a plan that is built here, or None."""
    vision = job.checkpoint.model.config.vision_config
    if not vision.use_rel_pos:
        return "the checkpoint has no relative positions"
    channels = vision.hidden_size // vision.num_attention_heads
    head_dim = -(-channels // VECTOR) * VECTOR
    device = torch.device("cuda")
    if why := attention_rule.refusal(device, DTYPES[job.precision], head_dim):
        return why
    trt: Any = importlib.import_module("tensorrt")
    return attention_plugin.missing(trt)
