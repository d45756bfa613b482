"""The steps of `make gpu`, in the order of their worth: a run that is cut short has the best."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from benchmarks.gpu import graph_steps
from benchmarks.gpu.setting import Setting

TARGETS: Final = ("onnx", "onnxruntime", "tritonclient")
"""What `slimsam_build.targets` imports."""
BUILDING: Final = (*TARGETS, "pycocotools", "skimage")
"""What `build_steps` imports."""


@dataclass(frozen=True)
class Step:
    """One step, which a process of its own does.

    Attributes:
        name: of its results' file.
        title: for the report.
        function: of `graph_steps`, or the name of one in a module that imports what it needs.
        arguments: of it, besides the setting.
        needs: packages that it imports.
        card: whether it says nothing without a card.
        after: a step whose plans it needs.
        limits: how many times a step's limit it may take.
    """

    name: str
    title: str
    function: Callable[..., dict[str, Any]] | str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: Sequence[str] = ()
    card: bool = True
    after: str | None = None
    limits: int = 1

    def run(self, setting: Setting) -> dict[str, Any]:
        """Do it; give its figures as plain data."""
        function = self.function
        if isinstance(function, str):
            module, _, name = function.rpartition(".")
            function = getattr(importlib.import_module(f"benchmarks.gpu.{module}"), name)
        torch.set_grad_enabled(False)
        found: dict[str, Any] = function(setting, **self.arguments)
        return found

    def lacks(self, device: str) -> str | None:
        """Say what this machine lacks for it, or None."""
        if self.card and device == "cuda" and not torch.cuda.is_available():
            return "there is no CUDA device"
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if absent:
            return f"not installed: {', '.join(absent)}"
        return None


def _graphs(precision: str, batches: Sequence[int]) -> tuple[Step, ...]:
    """The gate, encoder and decoder of our graphs in PyTorch."""
    return (
        Step(f"gate-{precision}", f"gate, {precision}", graph_steps.gate, {"precision": precision}),
        Step(
            f"encode-{precision}", f"encoder, {precision}", graph_steps.encode,
            {"precision": precision, "batches": batches},
        ),
        Step(
            f"decode-{precision}", f"decoder, {precision}", graph_steps.decode,
            {"precision": precision, "prompts": (1, 8, 64)},
        ),
    )  # fmt: skip


FP16: Final = {"precision": "fp16"}
STEPS: Final = (
    Step("peak", "products of matrices", graph_steps.peak),
    Step(
        "kernel", "the attention kernel alone", "kernel_steps.kernel",
        {"precision": "fp16", "batches": (1, 8)}, ("triton",),
    ),
    Step(
        "encoders", "encoder with the kernel and without", "kernel_steps.encoders",
        {"precision": "fp16", "batches": (1, 8)}, ("triton",),
    ),
    Step(
        "compiled-encoder", "encoder with the kernel, AOTInductor's package",
        "compiled_steps.compiled",
        {"precision": "fp16", "stage": "encode", "sizes": (1, 2, 4, 8)},
        ("triton", *TARGETS), limits=2,
    ),
    Step(
        "compiled-decoder", "decoder, AOTInductor's package", "compiled_steps.compiled",
        {"precision": "fp16", "stage": "decode", "sizes": (1, 8, 64)},
        ("triton", *TARGETS), limits=2,
    ),
    *_graphs("fp16", (1, 8)),
    # The encoder's twice, with the attention kernel and without.
    Step(
        "plan", "TensorRT's plans, built and gated", "build_steps.plan",
        FP16, BUILDING, card=False, limits=3,
    ),
    Step(
        "plan-times", "TensorRT's plans", "build_steps.plan_times",
        FP16, (*BUILDING, "tensorrt"), after="plan",
    ),
    Step("everything", "everything mode", "build_steps.everything", FP16, BUILDING, limits=2),
    Step(
        "fast", "encoder with segment-anything-fast's settings", graph_steps.fast,
        {"batches": (1, 8)}, limits=2,
    ),
    Step("serve", "served by this machine", "build_steps.serve", FP16, (*BUILDING, "pytriton")),
    Step(
        "encode-fp16-batches", "encoder, fp16, more batches", graph_steps.encode,
        {"precision": "fp16", "batches": (2, 4, 16)},
    ),
    *_graphs("bf16", (1, 2, 4, 8, 16)),
    *_graphs("fp32", (1, 2, 4, 8, 16)),
    Step("onnxruntime", "ONNX Runtime, gated", "build_steps.onnxruntime", FP16, BUILDING),
)  # fmt: skip
