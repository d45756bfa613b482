"""TensorRT plans from the ONNX files that target `tensorrt` made, on the GPU that will run them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import torch

from slimsam_build.errors import TargetError
from slimsam_build.graphs.axes import free_axes
from slimsam_build.graphs.example import DTYPES
from slimsam_build.targets.target import Job, Run
from slimsam_build.targets.tensorrt.builder import Recipe, Shapes, build_serialized
from slimsam_client.contract import (
    ENCODER,
    MASK_MULTIPLE,
    MASKS,
    MAX_MASK_PIXELS,
    MAX_MASK_SIDE,
    MAX_POINTS,
    MAX_PROMPTS,
    Arrays,
    ModelSpec,
)

TIMING_CACHE: Final = "model.plan.timing"

Range = tuple[int, int, int]
"""Least, best and most."""


def missing() -> str | None:
    """Say what this machine lacks to build plans, or None."""
    if importlib.util.find_spec("tensorrt") is None:
        return "the package tensorrt is not installed"
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return None


def profile_shapes(spec: ModelSpec, max_batch_size: int) -> list[Shapes]:
    """Give each profile's shapes of every input, in the order of `configs/tensorrt.pbtxt`.

    Scratch memory is that of a profile's largest shapes, and kernels are fewer where a size is
    fixed. So what comes most often has a profile of its own, and the last takes every batch.

    Args:
        spec: the model.
        max_batch_size: of its serving configuration.
    """
    profiles = []
    for sizes in _sizes(spec, max_batch_size):
        shapes = {}
        for tensor in spec.inputs:
            free = free_axes(tensor)
            dims = [
                sizes[free[axis]] if axis in free else (dim, dim, dim)
                for axis, dim in enumerate(tensor.dims)
            ]
            shapes[tensor.name] = tuple(
                [sizes["batch"][i], *(dim[i] for dim in dims)] for i in range(3)
            )
        profiles.append(shapes)
    return profiles


def _sizes(spec: ModelSpec, max_batch_size: int) -> tuple[dict[str, Range], ...]:
    """Give each profile's least, best and most of the batch's rows, and of each free axis."""
    one: Range = (1, 1, 1)
    batch: Range = (1, max_batch_size, max_batch_size)
    if spec == ENCODER:
        return {"batch": one}, {"batch": batch}
    if spec == MASKS:
        # The last one is for no request: without it the batch axis would be a constant in the
        # engine, and Triton wants one that is free.
        free_batch = {**_mask_sizes(MASK_MULTIPLE), "batch": (1, 1, 2)}
        return (*(_mask_sizes(side) for side in (2048, 4096, MAX_MASK_SIDE)), free_batch)
    click: dict[str, Range] = {"prompts": one, "points": (1, 2, 16)}
    many: dict[str, Range] = {
        "prompts": (1, MAX_PROMPTS, MAX_PROMPTS),
        "points": (1, 2, MAX_POINTS),
    }
    return (
        {"batch": one, **click},
        {"batch": batch, **click},
        {"batch": one, **many},
        {"batch": batch, **many},
    )


def _mask_sizes(side: int) -> dict[str, Range]:
    """Give the sizes of masks for pictures up to a side: few masks of large ones."""
    most = min(MAX_MASK_PIXELS // side**2, MAX_PROMPTS)
    pixels: Range = (MASK_MULTIPLE, max(side // 2, MASK_MULTIPLE), side)
    return {
        "batch": (1, 1, 1),
        "prompts": (1, most, most),
        "rows": pixels,
        "columns": pixels,
        "chosen": (1, 1, most),
    }


def build_plan(job: Job, spec: ModelSpec, onnx_path: Path, path: Path) -> None:
    """Build a plan from an ONNX file, with the timing cache of earlier builds beside its place.

    Args:
        job: what is built.
        spec: the model.
        onnx_path: made by target `tensorrt`.
        path: where the plan goes.

    Raises:
        TargetError: TensorRT refused the graph.
    """
    import tensorrt as trt

    cache_path = job.place(spec) / TIMING_CACHE
    recipe = Recipe(
        onnx_path=onnx_path,
        profiles=profile_shapes(spec, job.max_batch_size(spec)),
        precision=job.precision_of(spec),
        workspace_mib=job.workspace_mib,
        timing_cache=cache_path.read_bytes() if cache_path.exists() else b"",
    )
    plan, timing_cache = build_serialized(trt, trt.Logger(trt.Logger.WARNING), recipe)
    path.write_bytes(plan)
    # Whole or not at all: a build may be killed, and TensorRT would refuse half a cache.
    written = path.with_name(TIMING_CACHE)
    written.write_bytes(timing_cache)
    written.replace(cache_path)
    job.log(f"built {spec.name}/{path.name} with TensorRT {trt.__version__}")


OnDevice = Callable[..., tuple[torch.Tensor, ...]]
"""Inputs on the GPU, in the contract's order, to outputs there."""


def load_plan(job: Job, spec: ModelSpec, path: Path) -> Run:
    """Load a plan on the GPU, to run on arrays with the first profile that fits."""
    execute = load_on_device(path, spec, job.max_batch_size(spec))
    return lambda arrays: run_on_arrays(execute, spec, arrays)


def run_on_arrays(execute: OnDevice, spec: ModelSpec, arrays: Arrays) -> Arrays:
    """Run a loaded plan on arrays of the host."""
    given = [torch.from_numpy(arrays[tensor.name]).cuda() for tensor in spec.inputs]
    found = execute(*given)
    return {t.name: o.cpu().numpy() for t, o in zip(spec.outputs, found, strict=True)}


def load_on_device(path: Path, spec: ModelSpec, max_batch_size: int) -> OnDevice:
    """Load a plan on the GPU, to run on tensors that are there, on PyTorch's current stream.

    Args:
        path: of the plan.
        spec: the model.
        max_batch_size: for which it was built.
    """
    import tensorrt as trt

    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise TargetError(f"{path}: TensorRT {trt.__version__} cannot load it; build it again here")
    context = engine.create_execution_context()
    profiles = profile_shapes(spec, max_batch_size)
    used: int | None = None

    def execute(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        nonlocal used
        stream = torch.cuda.current_stream()
        values = {t.name: value.contiguous() for t, value in zip(spec.inputs, given, strict=True)}
        number = next(i for i, shapes in enumerate(profiles) if _fits(values, shapes))
        if number != used:
            context.set_optimization_profile_async(number, stream.cuda_stream)
            used = number
        for name, value in values.items():
            context.set_input_shape(name, tuple(value.shape))
            context.set_tensor_address(name, value.data_ptr())
        outputs = []
        for tensor in spec.outputs:
            shape = tuple(context.get_tensor_shape(tensor.name))
            outputs.append(torch.empty(shape, dtype=DTYPES[tensor.dtype], device="cuda"))
            context.set_tensor_address(tensor.name, outputs[-1].data_ptr())
        if not context.execute_async_v3(stream.cuda_stream):
            raise TargetError(f"{path}: TensorRT could not execute it")
        return tuple(outputs)

    return execute


def _fits(values: Mapping[str, torch.Tensor], shapes: Shapes) -> bool:
    return all(
        all(low <= size <= high for low, size, high in zip(least, value.shape, most, strict=True))
        for name, value in values.items()
        for least, _, most in [shapes[name]]
    )
