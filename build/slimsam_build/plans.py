"""TensorRT plans from the ONNX files that target `tensorrt` made, on the GPU that will run them.

Written for the Python API that TensorRT 10 and 11 share: strongly typed networks, named tensors.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from slimsam_build.errors import TargetError
from slimsam_build.targets.example import DTYPES
from slimsam_build.targets.run import Arrays, Run
from slimsam_client.contract import DECODER, ENCODER, MAX_POINTS, MAX_PROMPTS, ModelSpec

ARTEFACT: Final = "model.plan"
TIMING_CACHE: Final = "model.plan.timing"

Range = tuple[int, int, int]
"""Least, best and most."""

PROFILES: Final[dict[str, tuple[dict[str, Range], ...]]] = {
    # Both take every batch; the first is made for one image, the second for a full batch.
    ENCODER.name: ({}, {}),
    # Clicks and boxes of one user; everything mode's 64 prompts, and whatever the first leaves.
    DECODER.name: (
        {"prompts": (1, 1, 8), "points": (1, 2, 16)},
        {"prompts": (1, MAX_PROMPTS, MAX_PROMPTS), "points": (1, 2, MAX_POINTS)},
    ),
}
"""Optimisation profiles by number, as `configs/tensorrt.pbtxt` names them."""


def missing() -> str | None:
    """Say what this machine lacks to build plans, or None."""
    if importlib.util.find_spec("tensorrt") is None:
        return "the package tensorrt is not installed"
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return None


def profile_shapes(spec: ModelSpec, most_rows: int) -> list[dict[str, tuple[list[int], ...]]]:
    """Give each profile's shapes of every input: least, best, most, with the batch axis.

    Args:
        spec: the model.
        most_rows: `max_batch_size` of its serving configuration.
    """
    profiles = []
    for number, ranges in enumerate(PROFILES[spec.name]):
        shapes = {}
        for tensor in spec.inputs:
            free = iter(("prompts", "points"))
            dims = [ranges[next(free)] if dim == -1 else (dim, dim, dim) for dim in tensor.dims]
            best = 1 if number == 0 else most_rows if spec == ENCODER else 1
            rows: Range = (1, best, most_rows)
            shapes[tensor.name] = tuple([rows[i], *(dim[i] for dim in dims)] for i in range(3))
        profiles.append(shapes)
    return profiles


def build_plan(
    onnx_path: Path,
    path: Path,
    spec: ModelSpec,
    most_rows: int,
    precision: str,
    workspace_mib: int | None,
    cache_path: Path,
    say: Callable[[str], None],
) -> None:
    """Build a plan from an ONNX file.

    Args:
        onnx_path: made by target `tensorrt`.
        path: where the plan goes.
        spec: the model.
        most_rows: `max_batch_size` of its serving configuration.
        precision: "fp32" forbids TF32; the types themselves are the graph's.
        workspace_mib: limit of the builder's memory in MiB; None leaves TensorRT's own.
        cache_path: timing cache, read if it is there and written back.
        say: called with a line about each step.

    Raises:
        TargetError: TensorRT refused the graph.
    """
    import tensorrt as trt

    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    # Networks of TensorRT 11 are strongly typed without being asked.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.WARNING))
    if not parser.parse_from_file(str(onnx_path)):
        reasons = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise TargetError(f"{onnx_path}: expected a graph that TensorRT parses, it says: {reasons}")
    config = builder.create_builder_config()
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    for shapes in profile_shapes(spec, most_rows):
        profile = builder.create_optimization_profile()
        for name, (least, best, most) in shapes.items():
            profile.set_shape(name, least, best, most)
        config.add_optimization_profile(profile)
    cached = cache_path.read_bytes() if cache_path.exists() else b""
    config.set_timing_cache(config.create_timing_cache(cached), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TargetError(
            f"{onnx_path}: TensorRT {trt.__version__} built no plan; its messages above say why; "
            "with too little memory give --workspace MIB"
        )
    path.write_bytes(plan)
    cache_path.write_bytes(config.get_timing_cache().serialize())
    say(f"built {spec.name}/{ARTEFACT} with TensorRT {trt.__version__}")


def load_plan(path: Path, spec: ModelSpec, most_rows: int) -> Run:
    """Load a plan on the GPU, to run on arrays with the first profile that fits."""
    import tensorrt as trt

    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise TargetError(f"{path}: TensorRT {trt.__version__} cannot load it; build it again here")
    context = engine.create_execution_context()
    profiles = profile_shapes(spec, most_rows)
    stream = torch.cuda.Stream()

    def run(arrays: Arrays) -> Arrays:
        with torch.cuda.stream(stream):
            number = next(i for i, shapes in enumerate(profiles) if _fits(arrays, shapes))
            context.set_optimization_profile_async(number, stream.cuda_stream)
            tensors: dict[str, Any] = {}
            for tensor in spec.inputs:
                value = torch.from_numpy(arrays[tensor.name]).cuda().contiguous()
                tensors[tensor.name] = value
                context.set_input_shape(tensor.name, tuple(value.shape))
                context.set_tensor_address(tensor.name, value.data_ptr())
            for tensor in spec.outputs:
                shape = tuple(context.get_tensor_shape(tensor.name))
                value = torch.empty(shape, dtype=DTYPES[tensor.dtype], device="cuda")
                tensors[tensor.name] = value
                context.set_tensor_address(tensor.name, value.data_ptr())
            if not context.execute_async_v3(stream.cuda_stream):
                raise TargetError(f"{path}: TensorRT could not execute it")
        stream.synchronize()
        return {tensor.name: tensors[tensor.name].cpu().numpy() for tensor in spec.outputs}

    return run


def _fits(arrays: Arrays, shapes: dict[str, tuple[list[int], ...]]) -> bool:
    return all(
        all(low <= size <= high for low, size, high in zip(least, array.shape, most, strict=True))
        for name, array in arrays.items()
        for least, _, most in [shapes[name]]
    )
