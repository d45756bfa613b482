"""TorchScript for Triton's pytorch backend: `model.pt`, on the GPU where there is one.

Traced, not scripted: the graphs have no control flow, and tracing keeps the module's source free
of TorchScript's dialect. Buffers carry every constant, so no device is baked in.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from torch import nn

from slimsam_build.graphs.precision import cast
from slimsam_build.targets.example import example_inputs
from slimsam_build.targets.run import Arrays, Run
from slimsam_client.contract import ModelSpec

ARTEFACT: Final = "model.pt"
FILES: Final = (ARTEFACT,)
BATCHES: Final = True
REFUSED: Final[dict[str, str]] = (
    {}
    if torch.cuda.is_available()
    else {
        "fp16": "its CPU kernels are slower than fp32 and this machine has no CUDA device; "
        "build on the GPU, or use fp32 or bf16"
    }
)


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Trace a graph and save it; parameters: see `slimsam_build.targets`."""
    with torch.inference_mode(), _torchscript():
        torch.jit.save(trace(cast(graph, precision), spec), str(path))


def trace(graph: nn.Module, spec: ModelSpec) -> torch.jit.ScriptModule:
    """Trace a graph with example inputs of its contract."""
    with _torchscript():
        traced: torch.jit.ScriptModule = torch.jit.trace(
            graph, example_inputs(spec), check_trace=False
        )
    return traced


@contextmanager
def _torchscript() -> Iterator[None]:
    """Use TorchScript, whose successor PyTorch has announced, while it is Triton's own format."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
        yield


def load(path: Path, spec: ModelSpec, precision: str) -> Run:
    """Load an artefact to run on arrays, on the GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with _torchscript():
        module = torch.jit.load(str(path), map_location=device)

    def run(arrays: Arrays) -> Arrays:
        inputs = [torch.from_numpy(arrays[tensor.name]).to(device) for tensor in spec.inputs]
        with torch.inference_mode():
            outputs = module(*inputs)
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        return {
            tensor.name: output.cpu().numpy()
            for tensor, output in zip(spec.outputs, outputs, strict=True)
        }

    return run
