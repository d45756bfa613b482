"""`SamModel` as ONNX files without any of this project's changes: what anyone would export first.

The prompts' axis is fixed in each file: the exporter by tracing bakes it into the decoder.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import onnxruntime
import openvino
import torch
from torch import Tensor, nn
from transformers import SamModel

from benchmarks.comparison.interleave import Unsupported
from slimsam_build.targets.onnx_target import OPSET

Run = Callable[..., list[Tensor]]
"""Inputs, in the file's order, to outputs."""

ENCODER: Final = "encoder.onnx"


class _Encoder(nn.Module):
    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        embeddings: Tensor = self.model.get_image_embeddings(pixel_values)
        return embeddings


class _Decoder(nn.Module):
    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_embeddings: Tensor, points: Tensor, labels: Tensor) -> tuple[
        Tensor, Tensor
    ]:  # fmt: skip
        answer = self.model(
            image_embeddings=image_embeddings, input_points=points, input_labels=labels
        )
        return answer.pred_masks, answer.iou_scores


def export_plain(
    model: SamModel, embeddings: Tensor, prompts: Sequence[int], directory: Path
) -> dict[str, str]:
    """Write encoder.onnx, and decoder_P.onnx for each number of prompts.

    Args:
        model: with eager attention, which every exporter takes.
        embeddings: (1, 256, 64, 64) float32, an example.
        prompts: numbers of prompts.
        directory: where to.

    Returns:
        Of those that could not be exported, the file's name and why.
    """
    pixels = torch.zeros(1, 3, 1024, 1024)
    jobs: list[tuple[str, nn.Module, tuple[Tensor, ...]]] = [(ENCODER, _Encoder(model), (pixels,))]
    for count in prompts:
        points = torch.rand(1, count, 1, 2) * 1024
        labels = torch.ones(1, count, 1, dtype=torch.int64)
        jobs.append((decoder_file(count), _Decoder(model), (embeddings, points, labels)))
    failures = {}
    for name, module, inputs in jobs:
        try:
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")  # of tracing; the output is compared
                torch.onnx.export(
                    module.eval(), inputs, str(directory / name), dynamo=False, opset_version=OPSET
                )
        except Exception as error:  # exporters fail with exceptions of many families
            failures[name] = f"cannot be exported: {type(error).__name__}: {error}".split("\n")[0]
    return failures


def decoder_file(prompts: int) -> str:
    """Name the decoder for so many prompts."""
    return f"decoder_{prompts}.onnx"


class PlainModel:
    """The exported files in one runtime; each is loaded when it is first called.

    Args:
        directory: of the files.
        failures: of their export.
        load: `load_onnxruntime` or `load_openvino`.
    """

    def __init__(
        self, directory: Path, failures: dict[str, str], load: Callable[[Path], Run]
    ) -> None:
        self._directory = directory
        self._failures = failures
        self._load = load
        self._loaded: dict[str, Run] = {}

    def encode(self, pixel_values: Tensor) -> Tensor:
        """Encode (1, 3, 1024, 1024)."""
        return self._run(ENCODER, pixel_values)[0]

    def decode(self, embeddings: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Decode clicks (1, P, 1, 2): logits (1, P, 3, 256, 256) and scores (1, P, 3)."""
        labels = torch.ones(points.shape[:3], dtype=torch.int64)
        masks, scores = self._run(decoder_file(points.shape[1]), embeddings, points, labels)
        return masks, scores

    def _run(self, name: str, *inputs: Tensor) -> list[Tensor]:
        if name in self._failures:
            raise Unsupported(self._failures[name])
        if name not in self._loaded:
            try:
                self._loaded[name] = self._load(self._directory / name)
            except Exception as error:  # as above
                self._failures[name] = f"cannot be loaded: {error}".split("\n")[0]
                raise Unsupported(self._failures[name]) from error
        return self._loaded[name](*inputs)


def load_onnxruntime(path: Path) -> Run:
    """Load a file into ONNX Runtime, with its own defaults."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        feeds = dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True))
        return [torch.from_numpy(array) for array in session.run(None, feeds)]

    return run


def load_openvino(path: Path) -> Run:
    """Load a file into OpenVINO, for short waits and in float32."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)

    def run(*inputs: Tensor) -> list[Tensor]:
        outputs = compiled([tensor.numpy() for tensor in inputs])
        return [torch.from_numpy(outputs[port]) for port in compiled.outputs]

    return run
