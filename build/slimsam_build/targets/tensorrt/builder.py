"""NVIDIA's builder: an ONNX file and the shapes that it is for, to a serialized engine.

Written for the Python API that TensorRT 10 and 11 and TensorRT-RTX share: strongly typed networks,
named tensors. Which of them it is, the caller says by the module that it hands over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimsam_build.errors import TargetError

Shapes = dict[str, tuple[list[int], ...]]
"""An optimization profile: by input, the least, best and most shape, with the batch axis."""


@dataclass(frozen=True)
class Recipe:
    """What an engine is made of.

    Attributes:
        onnx_path: made by target `tensorrt`; the types are its own.
        profiles: the shapes that the engine takes.
        precision: "fp32" forbids TF32, too.
        workspace_mib: memory limit of the builder in MiB; None leaves its own.
        timing_cache: of earlier builds, empty if there are none; None keeps none.
        detailed: whether the engine, and the builder's log, name every kernel.
    """

    onnx_path: Path
    profiles: Sequence[Shapes]
    precision: str
    workspace_mib: int | None = None
    timing_cache: bytes | None = None
    detailed: bool = False


def build_serialized(trt: Any, logger: Any, recipe: Recipe) -> tuple[Any, bytes]:
    """Build an engine.

    Args:
        trt: the module `tensorrt`, or `tensorrt_rtx_bindings`.
        logger: a `trt.ILogger`, which gets what the parser and the builder say.
        recipe: what is built.

    Returns:
        The serialized engine, a buffer; and the timing cache with what this build has measured,
        empty if none is kept.

    Raises:
        TargetError: the parser refused the graph, or the builder built nothing.
    """
    path = recipe.onnx_path
    builder = trt.Builder(logger)
    # Networks of TensorRT 11 are strongly typed without being asked.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        reasons = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise TargetError(f"{path}: expected a graph that TensorRT parses, it says: {reasons}")
    config = builder.create_builder_config()
    if recipe.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if recipe.detailed:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if recipe.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_mib << 20)
    for shapes in recipe.profiles:
        profile = builder.create_optimization_profile()
        for name, (least, best, most) in shapes.items():
            profile.set_shape(name, least, best, most)
        config.add_optimization_profile(profile)
    if recipe.timing_cache is not None:
        config.set_timing_cache(config.create_timing_cache(recipe.timing_cache), False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise TargetError(
            f"{path}: TensorRT {trt.__version__} built no plan; its messages above say why; "
            "with too little memory give --workspace MIB"
        )
    cache = None if recipe.timing_cache is None else config.get_timing_cache()
    return engine, b"" if cache is None else bytes(cache.serialize())
