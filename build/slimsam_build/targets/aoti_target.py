"""AOTInductor packages for Triton's pytorch backend: `model.pt2`, with the attention kernel inside.

PyTorch's compiler makes one library of a graph, which runs without Python and without PyTorch's
interpreter (platform `torch_aoti` of Triton's PyTorch backend). Where the attention kernel runs,
its machine code is part of it. The package is for the device that it is compiled on: a GPU of one
compute capability, or a CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic_shapes

from slimsam_build.graphs.axes import free_axes
from slimsam_build.graphs.example import example_inputs
from slimsam_build.graphs.precision import cast
from slimsam_build.targets.target import Run
from slimsam_client.contract import MASKS, Arrays, ModelSpec

MOST_ROWS: Final = 8
"""The largest batch; the contract's other free axes have sizes that the graph itself bounds."""
ANY_SIZE: Final = 2**31
EXAMPLE_ROWS: Final = 2
"""Of the inputs that a graph is exported with: 1 would become the only size."""


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Compile a graph and package it; parameters: see `slimsam_build.targets`."""
    device = _device()
    module = cast(graph, precision).to(device)
    rows = torch.export.Dim("rows", min=1, max=MOST_ROWS)
    batched = spec != MASKS  # which takes one row
    examples, shapes = [], []
    for index, (tensor, example) in enumerate(zip(spec.inputs, example_inputs(spec), strict=True)):
        if batched:
            example = example.repeat(EXAMPLE_ROWS, *[1] * (example.ndim - 1))
        shape = {0: rows} if batched else {}
        for axis, name in free_axes(tensor).items():
            # Triton compares no axis of one input with another's, so each is free by itself; in the
            # example, too, or equal sizes would be taken for one.
            example = example.repeat_interleave(index + 1, axis + 1)
            shape[axis + 1] = torch.export.Dim(f"{name}_{index}", min=0, max=ANY_SIZE)
        examples.append(example.to(device))
        shapes.append(shape)
    # Without it the exporter would take what the example does at 0 and 1 for all sizes.
    oblivious = symbolic_shapes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with torch.no_grad(), oblivious, warnings.catch_warnings():
        # PyTorch's compiler uses what PyTorch has deprecated.
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module, tuple(examples), dynamic_shapes=tuple(shapes), strict=False
        )
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def load(path: Path, spec: ModelSpec, precision: str) -> Run:
    """Load a package to run on arrays, on the device that it is for."""
    device = _device()
    package = load_on_device(path)

    def run(arrays: Arrays) -> Arrays:
        # A package reads its inputs as they would lie in C order, whatever their strides say.
        inputs = (torch.from_numpy(arrays[tensor.name]).contiguous() for tensor in spec.inputs)
        outputs = package(*(tensor.to(device) for tensor in inputs))
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        return {t.name: o.cpu().numpy() for t, o in zip(spec.outputs, outputs, strict=True)}

    return run


def load_on_device(path: Path) -> Callable[..., Any]:
    """Load a package; it takes and gives tensors of its device."""
    package: Callable[..., Any] = torch._inductor.aoti_load_package(str(path))
    return package


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
