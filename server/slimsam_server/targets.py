"""The table of targets: what each has in a model repository, and what serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Target:
    """A runtime of Triton.

    Attributes:
        files: what its backend loads, in a model's version directory; the report of slimsam-build
            lies beside the first, as NAME.json.
        runtime: the module that its stand-in imports; None: there is no stand-in.
        configuration: the value of Triton's `--model-config-name`; None: config.pbtxt itself.
        bf16_configuration: the same where the artifacts are bf16.
    """

    files: tuple[str, ...]
    runtime: str | None
    configuration: str | None
    bf16_configuration: str | None


TARGETS: Final = {
    "openvino": Target(("model.xml", "model.bin"), "openvino", "openvino", "openvino_bf16"),
    "torchscript": Target(("model.pt",), "torch", None, None),
    "onnxruntime": Target(("model.onnx",), "onnxruntime", "onnxruntime", "onnxruntime"),
    "torch_aoti": Target(("model.pt2",), "torch", "torch_aoti", "torch_aoti"),
    "tensorrt": Target(("model.plan",), None, "tensorrt", "tensorrt"),
}
SERVED_HERE: Final = tuple(name for name, target in TARGETS.items() if target.runtime)
"""Targets that `slimsam-serve` serves, with or without Triton's own backends."""
