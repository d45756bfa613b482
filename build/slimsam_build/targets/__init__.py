"""The table of targets: every fact about a runtime that artifacts are made for."""

from __future__ import annotations

from typing import Final

import torch

from slimsam_build import parity
from slimsam_build.errors import TargetError
from slimsam_build.graphs import (
    AlignedEncoder,
    AnyShapeDecoder,
    AnyShapeFusedDecoder,
    AnyShapeMasks,
    BoundedDecoder,
    BoundedMasks,
    Encoder,
    FusedDecoder,
    FusedEncoder,
    KernelEncoder,
    Masks,
)
from slimsam_build.repository import ARTIFACTS
from slimsam_build.targets import aoti_target, onnx_target, openvino_target, torchscript_target
from slimsam_build.targets.target import Finish, Graphs, Target
from slimsam_build.targets.tensorrt import (
    attention_choice,
    export as tensorrt_export,
    plan,
    rehearsal,
)
from slimsam_client.contract import DECODER, ENCODER, MASKS
from slimsam_client.parity.figures import Figures

FEWEST_OPERATIONS: Final[Graphs] = {
    ENCODER: Encoder,
    DECODER: AnyShapeDecoder,
    MASKS: lambda model: AnyShapeMasks(),
}
"""The graphs that a CPU computes soonest, and that take every request which Triton lets through."""
FUSED: Final[Graphs] = {
    ENCODER: FusedEncoder,
    DECODER: FusedDecoder,
    MASKS: lambda model: Masks(),
}
"""The same functions for a compiler that fuses: more operations, fewer kernels and bytes. The
decoder takes P and N from 1 on, and the masks take sizes, up to what the plan's profiles have."""
FUSED_BY_PYTORCH: Final[Graphs] = {
    ENCODER: AlignedEncoder,
    DECODER: AnyShapeFusedDecoder,
    MASKS: lambda model: AnyShapeMasks(),
}
"""The same for PyTorch's kernels of attention on CUDA, for every request; right on a CPU, too."""
FUSED_FOR_ANY_SHAPE: Final[Graphs] = {
    ENCODER: FusedEncoder,
    DECODER: AnyShapeFusedDecoder,
    MASKS: lambda model: AnyShapeMasks(),
}
"""`FUSED` for every request: fewer bytes between a GPU's kernels, whatever a runtime fuses."""
COMPILED: Final[Graphs] = {
    ENCODER: KernelEncoder,
    DECODER: BoundedDecoder,
    MASKS: lambda model: BoundedMasks(),
}
"""`FUSED` for PyTorch's compiler: with the attention kernel where it runs, for every request."""

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        Target(
            name="torchscript",
            files=ARTIFACTS["torchscript"],
            batches=True,
            graphs=FEWEST_OPERATIONS,
            graphs_with_cuda=FUSED_BY_PYTORCH,
            default_precision_with_cuda="fp16",
            export=torchscript_target.export,
            load=torchscript_target.load,
            refused_without_cuda={
                "fp16": "its CPU kernels are slower than fp32 and this machine has no CUDA device; "
                "build on the GPU, or use fp32 or bf16"
            },
            uses_cuda=torch.cuda.is_available,
        ),
        Target(
            name="onnxruntime",
            files=ARTIFACTS["onnxruntime"],
            batches=True,
            graphs=FEWEST_OPERATIONS,
            graphs_with_cuda=FUSED_FOR_ANY_SHAPE,
            default_precision_with_cuda="fp16",
            export=onnx_target.export,
            load=onnx_target.load,
            refused_without_cuda={
                "fp16": "ONNX Runtime's CPU kernels compute it as fp32 between casts, and this "
                "machine has no CUDA device; build on the GPU, or use fp32"
            },
            uses_cuda=onnx_target.has_cuda,
            refused={
                "bf16": "ONNX Runtime's CPU kernels do not cover it; use fp32, or target openvino",
            },
        ),
        Target(
            name="openvino",
            files=ARTIFACTS["openvino"],
            # Triton's backend wants every dim that the config fixes to be static, the batch too,
            # and a CPU gains nothing from batches.
            batches=False,
            graphs=FEWEST_OPERATIONS,
            export=openvino_target.export,
            load=openvino_target.load,
            refused={
                "fp16": "CPUs compute it as fp32, and stored weights of half the size save a few "
                "megabytes only; use fp32, or bf16 where the processor has it"
            },
        ),
        Target(
            name="tensorrt",
            files=("model.tensorrt.onnx",),
            batches=True,
            graphs=FUSED,
            default_precision="fp16",
            bounds={**parity.BOUNDS, "bf16": Figures(5e-2, 0.985, 0.95, 5e-2)},
            export=tensorrt_export.export,
            load=tensorrt_export.load,
            finish=Finish(
                artifact=ARTIFACTS["tensorrt"][0],
                missing=plan.missing,
                build=plan.build_plan,
                load=plan.load_plan,
                rehearse=rehearsal.rehearse_job,
                choose=attention_choice.choose,
            ),
        ),
        Target(
            name="torch_aoti",
            files=ARTIFACTS["torch_aoti"],
            batches=True,
            graphs=COMPILED,
            default_precision_with_cuda="fp16",
            export=aoti_target.export,
            load=aoti_target.load,
            refused_without_cuda={
                "fp16": "its CPU kernels are slower than fp32 and this machine has no CUDA device; "
                "build on the GPU, or use fp32 or bf16"
            },
            uses_cuda=torch.cuda.is_available,
            of_one_device=True,
        ),
    )
}


def find_target(name: str, precision: str) -> Target:
    """Look a target up and check that it offers the precision on this machine.

    Raises:
        TargetError: no such target, or not in that precision; with the reason.
    """
    if name not in TARGETS:
        raise TargetError(f"target {name!r}: expected one of {', '.join(TARGETS)}")
    target = TARGETS[name]
    refused = dict(target.refused)
    if not torch.cuda.is_available():
        refused |= target.refused_without_cuda
    if precision in refused:
        raise TargetError(f"target {name} in {precision}: {refused[precision]}")
    return target
