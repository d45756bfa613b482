"""The built artefacts without a server: the client's operations, driven by runs in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import ArrayLike, NDArray

from slimsam_build.targets import openvino
from slimsam_client import Embedding, GenerateSettings, MaskRecord, Prediction, operations
from slimsam_client.calls import Call, Steps, advance
from slimsam_client.contract import DECODER, ENCODER, ENSEMBLE, ModelSpec
from slimsam_client.image import ImageSource

T = TypeVar("T")
Arrays = dict[str, NDArray[Any]]


class InProcess:
    """The openvino artefacts of a model repository.

    Args:
        repository: a built one.
        precision: "fp32" or "bf16"; the files are the same.
    """

    def __init__(self, repository: Path, precision: str) -> None:
        self._models = {
            spec.name: openvino.load(
                repository / spec.name / "1" / openvino.ARTEFACT, spec, precision
            )
            for spec in (ENCODER, DECODER)
        }

    def infer(self, call: Call) -> Arrays:
        """Answer a call; the ensemble's is one of the encoder and one of the decoder."""
        if call.spec is not ENSEMBLE:
            return self._run(call.spec, call.arrays)
        return self._run(DECODER, {**call.arrays, **self._run(ENCODER, call.arrays)})

    def predict(self, embedding: Embedding, points: ArrayLike) -> Prediction:
        """Do what `SlimSam.predict` does."""
        return self._drive(operations.predict(embedding, points, None, None, None, True))

    def segment(self, image: ImageSource, points: ArrayLike) -> Prediction:
        """Do what `SlimSam.segment` does."""
        return self._drive(operations.segment(image, points, None, None, None, True))

    def generate(self, image: ImageSource, settings: GenerateSettings) -> list[MaskRecord]:
        """Do what `SlimSam.generate` does."""
        return self._drive(operations.generate(image, settings, None, on_server=False))

    def _drive(self, steps: Steps[T]) -> T:
        step = advance(steps, None)
        while isinstance(step, Call):
            step = advance(steps, self.infer(step))
        return step.result

    def _run(self, spec: ModelSpec, arrays: Arrays) -> Arrays:
        rows = {tensor.name: arrays[tensor.name][None] for tensor in spec.inputs}
        return {name: array[0] for name, array in self._models[spec.name](rows).items()}
