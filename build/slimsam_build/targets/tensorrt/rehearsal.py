"""NVIDIA's builder on a machine without a GPU: what a plan will be made of.

TensorRT-RTX builds engines ahead of time, for cards that are not there, with TensorRT's parser and
its compiler of fused kernels. It takes the ONNX files of target `tensorrt` and says into which
kernels it fuses them and how much memory they need. What it cannot say: whether a plan runs, what
it computes, and how fast. TensorRT itself chooses among kernels by timing them on the card, so its
numbers may differ a little.

Where its package is not installed, there is no rehearsal: `slimsam-build` does not depend on it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from slimsam_build.errors import TargetError, one_line
from slimsam_build.targets.target import Job
from slimsam_build.targets.tensorrt.attention_plugin import needs_plugin
from slimsam_build.targets.tensorrt.builder import Recipe, build_serialized
from slimsam_build.targets.tensorrt.plan import profile_shapes
from slimsam_client.contract import ENCODER, ModelSpec

MODULE: Final = "tensorrt_rtx_bindings"
PACKAGES: Final = "tensorrt-rtx-cu12-bindings and tensorrt-rtx-cu12-libs"

ATTENTION: Final = "_gemm_mha_v2"
"""A kernel that has a whole attention in it: both products, the bias and the softmax."""
_LAYER: Final = re.compile(r"Name: (?P<name>.*?_myl(?P<profile>\d+)_\d+), LayerType: (?P<kind>\w+)")
_NO_KERNELS: Final = frozenset({"signal", "wait", "shape_call", "allocate", "deallocate"})
"""Lines of the builder's list that start nothing on the card."""
_MEMORY: Final = re.compile(r"Total Activation Memory: (\d+) bytes")
_FUSED_NODE: Final = re.compile(r"Layer: \{ForeignNode")
_NODE: Final = re.compile(r"Layer: .* Scratch Memory: ")


@dataclass(frozen=True)
class Kernel:
    """A kernel of a profile.

    Attributes:
        name: as the builder has it, which tells what was fused.
        described: the builder's whole line: tensors with their sizes and types, nodes of the ONNX.
    """

    name: str
    described: str

    @property
    def is_attention(self) -> bool:
        """Whether it is a whole attention."""
        return self.name.startswith(ATTENTION)


@dataclass(frozen=True)
class Profile:
    """What is made for one of the engine's optimization profiles.

    Attributes:
        kernels: in the order in which they are started.
        nodes: parts that the network falls into; 1 if all of it was given to the fusing compiler.
        scratch_bytes: memory for the values between kernels, for the profile's largest shapes.
    """

    kernels: tuple[Kernel, ...]
    nodes: int
    scratch_bytes: int

    @property
    def attentions(self) -> int:
        """How many kernels are whole attentions."""
        return sum(kernel.is_attention for kernel in self.kernels)


@dataclass(frozen=True)
class Rehearsed:
    """What the builder made, and what it complained of.

    Attributes:
        version: of TensorRT-RTX.
        profiles: in the recipe's order.
        complaints: its warnings and errors.
    """

    version: str
    profiles: tuple[Profile, ...]
    complaints: tuple[str, ...]


def missing() -> str | None:
    """Say what a rehearsal lacks here, or None."""
    if importlib.util.find_spec(MODULE) is None:
        return f"{PACKAGES} are not installed"
    return None


def rehearse_job(job: Job, spec: ModelSpec, onnx_path: Path) -> None:
    """Log what a model's plan will be made of; or why that is not known.

    A graph that TensorRT-RTX refuses is logged, too, and is no error: TensorRT may take it.

    Args:
        job: what is built.
        spec: the model.
        onnx_path: made by target `tensorrt`.
    """
    if spec == ENCODER:
        job.log(
            f"{spec.name}: not tried without a GPU and TensorRT: a plan with the attention kernel, "
            "which is kept where it is faster"
        )
    if reason := missing():
        job.log(f"{spec.name}: not tried with NVIDIA's builder: {reason}")
        return
    recipe = Recipe(
        onnx_path=onnx_path,
        profiles=profile_shapes(spec, job.max_batch_size(spec)),
        precision=job.precision_of(spec),
        workspace_mib=job.workspace_mib,
    )
    try:
        found = rehearse(recipe)
    except TargetError as error:
        job.log(f"{spec.name}: refused by TensorRT-RTX: {one_line(str(error))}")
        return
    for number, profile in enumerate(found.profiles):
        job.log(
            f"{spec.name}, profile {number}: {len(profile.kernels)} kernels, "
            f"{profile.attentions} of them whole attentions, "
            f"{profile.scratch_bytes / 2**20:.0f} MiB of scratch memory"
        )
    for complaint in found.complaints:
        job.log(f"{spec.name}: NVIDIA's builder says: {complaint}")
    job.log(
        f"{spec.name}: proved by the builder of TensorRT-RTX {found.version}; not proved without "
        "a GPU: that a plan runs, what it computes and how fast"
    )


def rehearse(recipe: Recipe) -> Rehearsed:
    """Build an engine that is not kept, and read the builder's log.

    Args:
        recipe: what is built.

    Raises:
        TargetError: the parser or the builder refuses the graph, with their reasons; or it has the
            attention plugin's nodes.
    """
    if needs_plugin(recipe.onnx_path):
        raise TargetError(
            f"{recipe.onnx_path}: expected a graph without plugins, found the attention kernel's, "
            "on which TensorRT-RTX would abort this process; rehearse the plan without it"
        )
    trt: Any = importlib.import_module(MODULE)
    heard: list[tuple[str, str]] = []

    class Listener(trt.ILogger):
        """Keeps what the builder says."""

        def log(self, severity: Any, message: str) -> None:
            heard.append((severity.name, message))

    logger = Listener()
    logger.min_severity = trt.ILogger.Severity.VERBOSE
    try:
        build_serialized(trt, logger, replace(recipe, detailed=True))
    except TargetError as error:
        raise TargetError("; ".join([str(error), *_complaints(heard)])) from None
    return Rehearsed(
        version=trt.__version__,
        profiles=tuple(_profiles(heard, len(recipe.profiles))),
        complaints=_complaints(heard),
    )


def _complaints(heard: list[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(one_line(text) for severity, text in heard if severity not in ("INFO", "VERBOSE"))


def _profiles(heard: list[tuple[str, str]], count: int) -> Iterator[Profile]:
    """Read the list of kernels, and the sizes that are told profile by profile."""
    lines = [
        found
        for _, message in heard
        if message.startswith("Layers:")
        for line in message.splitlines()
        if (found := _LAYER.match(line))
    ]
    # Numbers grow from profile to profile, but some may be left out.
    numbers = sorted({int(found["profile"]) for found in lines})
    kernels: list[list[Kernel]] = [[] for _ in range(count)]
    for found in lines:
        if found["kind"] not in _NO_KERNELS:
            kernel = Kernel(found["name"], found.string)
            kernels[numbers.index(int(found["profile"]))].append(kernel)
    memory = [int(found[1]) for _, text in heard if (found := _MEMORY.match(text))]
    nodes = [text for _, text in heard if _NODE.match(text)]
    for number in range(count):
        own = [text for text in nodes if _profile_of(text) == number]
        yield Profile(tuple(kernels[number]), len(own), memory[number])


def _profile_of(text: str) -> int:
    found = re.search(r"\[profile (\d+)\]", text)
    return int(found[1]) if found else 0
