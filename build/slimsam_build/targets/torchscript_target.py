"""TorchScript for Triton's pytorch backend: `model.pt`, on the GPU where there is one.

Traced, not scripted: the graphs have no control flow, and tracing keeps the module's source free
of TorchScript's dialect; a few lines around the decoder's are scripted (`row_by_row`). Buffers
carry every constant, so no device is baked in.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from slimsam_build.graphs.example import example_inputs
from slimsam_build.graphs.precision import cast
from slimsam_build.targets.row_by_row import RowByRow
from slimsam_build.targets.target import Run
from slimsam_client.contract import DECODER, Arrays, ModelSpec


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Trace a graph and save it, the decoder in a loop; parameters: see `slimsam_build.targets`."""
    with torch.inference_mode(), _torchscript():
        module = trace(cast(graph, precision), spec)
        if spec == DECODER:
            module = torch.jit.script(RowByRow(module))
        torch.jit.save(module, str(path))


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
    """Load an artifact to run on arrays, on the GPU where there is one."""
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
