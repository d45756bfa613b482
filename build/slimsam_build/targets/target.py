"""What a target is, and what a build for one carries.

A target is a runtime of Triton: its files, what it cannot do, and the code that makes its files and
runs them for the gate. `slimsam_build.targets` has the table of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import SamModel

from slimsam_build import parity
from slimsam_build.checkpoints import Checkpoint
from slimsam_build.parity import Measured, Run as Run
from slimsam_build.repository import VERSION, max_batch_size
from slimsam_client.contract import MASKS, ModelSpec
from slimsam_client.parity.figures import Figures

Graphs = Mapping[ModelSpec, Callable[[SamModel], nn.Module]]
"""What makes the graph of each model of a checkpoint, the encoder's first."""

Gate = Callable[[Run], Measured]
"""Measures an encoder beside the checkpoint; raises a `ParityError` where it misses the bounds."""


def never() -> bool:
    """Say no: a target that no machine runs on CUDA at the gate."""
    return False


@dataclass(frozen=True)
class Target:
    """A runtime of Triton that artifacts are made for.

    Attributes:
        name: its name, as --target has it.
        files: names of the files that `export` writes; the first is the one that it is given, and
            that `load` loads.
        batches: whether one execution of its artifacts may hold several rows.
        graphs: the models' graphs, in the form that is right for the runtime.
        graphs_with_cuda: the form for a machine with a CUDA device, where it is another.
        export: writes a graph, for a model of the contract, to a path, in a precision.
        load: loads what `export` wrote (path, model, precision), and runs it as Triton would.
        default_precision: in which it is built unless another is asked for.
        default_precision_with_cuda: the same on a machine with a CUDA device, where it is another.
        bounds: of the parity gate, by precision.
        refused: precisions that the target does not offer, with the reason.
        refused_without_cuda: those that it does not offer on a machine without a CUDA device.
        uses_cuda: says whether `load` runs an artifact on this machine's CUDA device.
        of_one_device: whether its artifacts are for the kind of device alone that they are made on.
        finish: the second step, where what Triton loads is made on the machine that serves it.
    """

    name: str
    files: tuple[str, ...]
    batches: bool
    graphs: Graphs
    export: Callable[[nn.Module, ModelSpec, Path, str], None]
    load: Callable[[Path, ModelSpec, str], Run]
    graphs_with_cuda: Graphs | None = None
    default_precision: str = "fp32"
    default_precision_with_cuda: str | None = None
    bounds: Mapping[str, Figures] = field(default_factory=lambda: parity.BOUNDS)
    refused: Mapping[str, str] = field(default_factory=dict)
    refused_without_cuda: Mapping[str, str] = field(default_factory=dict)
    uses_cuda: Callable[[], bool] = never
    of_one_device: bool = False
    finish: Finish | None = None

    @property
    def artifact(self) -> str:
        """The name of the file that `export` is given and `load` loads."""
        return self.files[0]

    @property
    def graphs_here(self) -> Graphs:
        """The graphs in the form for this machine."""
        if self.graphs_with_cuda is not None and torch.cuda.is_available():
            return self.graphs_with_cuda
        return self.graphs

    @property
    def default_precision_here(self) -> str:
        """The precision that this machine builds unless another is asked for."""
        if self.default_precision_with_cuda is not None and torch.cuda.is_available():
            return self.default_precision_with_cuda
        return self.default_precision


@dataclass(frozen=True)
class Finish:
    """What is made of exported files on the machine that serves them.

    Attributes:
        artifact: name of the file that it makes, which Triton loads.
        missing: says what this machine lacks for it; None if nothing.
        build: makes the file for a job and a model, from the exported file, at a path.
        load: loads it for a job and a model, from its path.
        rehearse: says, by the job's log, what can be known of it on a machine that lacks something,
            for a job, a model and the exported file.
        choose: puts another encoder in the place of the one that was built, if it is better, for a
            job, the folder of both, the one that was built, loaded, and the gate; None: there is no
            other.
    """

    artifact: str
    missing: Callable[[], str | None]
    build: Callable[[Job, ModelSpec, Path, Path], None]
    load: Callable[[Job, ModelSpec, Path], Run]
    rehearse: Callable[[Job, ModelSpec, Path], None] | None = None
    choose: Callable[[Job, Path, Run, Gate], Chosen] | None = None


@dataclass(frozen=True)
class Chosen:
    """Which encoder was kept.

    Attributes:
        measured: by the gate.
        report: what its report says of the choice.
    """

    measured: Measured
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One build: what is made of which checkpoint, and where it goes.

    Attributes:
        checkpoint: what is exported.
        target: for which runtime.
        precision: "fp32", "fp16" or "bf16".
        repository: the model repository.
        refused: why the job's narrower precisions were refused, in the order of their trial.
        workspace_mib: memory limit of TensorRT's builder in MiB; None leaves TensorRT's own.
        log: called with a line about each step.
        asked_precision: the one that was asked for, where this one takes its place.
    """

    checkpoint: Checkpoint
    target: Target
    precision: str
    repository: Path
    refused: tuple[str, ...] = ()
    workspace_mib: int | None = None
    log: Callable[[str], None] = print
    asked_precision: str | None = None

    def place(self, spec: ModelSpec) -> Path:
        """The directory that a model's artifacts are installed in."""
        return self.repository / spec.name / VERSION

    def precision_of(self, spec: ModelSpec) -> str:
        """The precision of a model's artifact: masks are always measured in float32."""
        return "fp32" if spec == MASKS else self.precision

    def max_batch_size(self, spec: ModelSpec) -> int:
        """The largest batch of a model's serving configuration; see `repository`."""
        return max_batch_size(self.repository, spec, self.target.name)
