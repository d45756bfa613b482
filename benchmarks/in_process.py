"""The built artifacts without a server: the client's operations, driven by runs in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import ArrayLike, NDArray

from slimsam_build.targets import TARGETS
from slimsam_client import Embedding, GenerateSettings, MaskRecord, Prediction, operations
from slimsam_client.calls import Call, Done, Operation, advance
from slimsam_client.contract import BULK_DECODER, DECODER, ENCODER, ENSEMBLE, ModelSpec
from slimsam_client.image.load import ImageSource
from slimsam_client.results import MaskKind

T = TypeVar("T")
Arrays = dict[str, NDArray[Any]]


class InProcess:
    """The artifacts of a model repository.

    Args:
        repository: a built one.
        precision: "fp32" or "bf16"; openvino's files are the same.
        target: the artifacts', and the runtime.
        models: those that are loaded.
    """

    def __init__(
        self,
        repository: Path,
        precision: str,
        target: str = "openvino",
        models: Sequence[ModelSpec] = (ENCODER, DECODER),
    ) -> None:
        made = TARGETS[target]
        self._models = {
            spec.name: made.load(repository / spec.name / "1" / made.artifact, spec, precision)
            for spec in models
        }

    def infer(self, call: Call) -> Arrays:
        """Answer a call; the ensemble's is one of the encoder and one of the decoder."""
        if call.spec is not ENSEMBLE:
            # Both decoders have the same files.
            spec = DECODER if call.spec is BULK_DECODER else call.spec
            return self._run(spec, call.arrays)
        return self._run(DECODER, {**call.arrays, **self._run(ENCODER, call.arrays)})

    def predict(
        self, embedding: Embedding, points: ArrayLike, masks: MaskKind = "all"
    ) -> Prediction:
        """Do what `SlimSam.predict` does."""
        return self._drive(operations.predict(embedding, points, None, None, None, True, masks))

    def segment(self, image: ImageSource, points: ArrayLike) -> Prediction:
        """Do what `SlimSam.segment` does."""
        return self._drive(operations.segment(image, points, None, None, None, True))

    def generate(self, image: ImageSource, settings: GenerateSettings) -> list[MaskRecord]:
        """Do what `SlimSam.generate` does."""
        return self._drive(operations.generate(image, settings, None, on_server=False))

    def _drive(self, steps: Operation[T]) -> T:
        step = advance(steps, None)
        while not isinstance(step, Done):
            # There is one checkpoint here, so its digest is of no interest.
            step = advance(steps, self.infer(step) if isinstance(step, Call) else None)
        return step.result

    def _run(self, spec: ModelSpec, arrays: Arrays) -> Arrays:
        rows = {tensor.name: arrays[tensor.name][None] for tensor in spec.inputs}
        return {name: array[0] for name, array in self._models[spec.name](rows).items()}
