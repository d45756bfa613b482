"""Targets: each module turns graphs into artefacts of one runtime, and runs them for the gate.

All have the same shape:

    ARTEFACT      file name in the version directory
    FILES         all files that belong to the artefact
    BATCHES       whether one execution may hold several rows
    REFUSED       precision -> why this target does not offer it
    export(graph, spec, path, precision)    write the artefact
    load(path, spec, precision) -> Run      run it, as its Triton backend would
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol, cast

from torch import nn

from slimsam_build.errors import TargetError
from slimsam_build.targets import onnxruntime, openvino, tensorrt, torchscript
from slimsam_build.targets.run import Run
from slimsam_client.contract import ModelSpec


class Target(Protocol):
    """What a target module offers."""

    ARTEFACT: str
    FILES: tuple[str, ...]
    BATCHES: bool
    REFUSED: Mapping[str, str]

    def export(self, graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
        """Write an artefact."""

    def load(self, path: Path, spec: ModelSpec, precision: str) -> Run:
        """Load an artefact, to be run on arrays."""


TARGETS: Final[dict[str, Target]] = {
    "torchscript": cast(Target, torchscript),
    "onnxruntime": cast(Target, onnxruntime),
    "openvino": cast(Target, openvino),
    "tensorrt": cast(Target, tensorrt),
}


def find_target(name: str, precision: str) -> Target:
    """Look a target up and check that it offers the precision.

    Raises:
        TargetError: no such target, or not in that precision; with the reason.
    """
    if name not in TARGETS:
        raise TargetError(f"target {name!r}: expected one of {', '.join(TARGETS)}")
    target = TARGETS[name]
    if precision in target.REFUSED:
        raise TargetError(f"target {name} in {precision}: {target.REFUSED[precision]}")
    return target
