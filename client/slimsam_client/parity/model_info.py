"""slimsam_info's answer: what a server says of the model that it serves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import INFO
from slimsam_client.errors import ContractError
from slimsam_client.parity.figures import Figures
from slimsam_client.parity.reference import ReferenceAnswer, measure

TEXTS = ("checkpoint", "digest", "target", "precision")


@dataclass(frozen=True)
class ModelInfo:
    """What is served.

    Attributes:
        checkpoint: the name under which the checkpoint was built.
        digest: SHA-256 of its weights, in hexadecimal.
        target: openvino, torchscript, onnxruntime, tensorrt or torch_aoti.
        precision: fp32, fp16 or bf16, which the parity gate has proved.
        limits: the most `prompts`, and `points` of each prompt, of a request to the decoder;
            servers may name further ones.
        bounds: how far answers in this precision may be from `SamModel`'s.
    """

    checkpoint: str
    digest: str
    target: str
    precision: str
    limits: Mapping[str, int]
    bounds: Figures

    @classmethod
    def from_json(cls, text: bytes) -> ModelInfo:
        """Read slimsam_info's answer; what later versions add is left alone.

        Raises:
            ContractError: it is something else.
        """
        try:
            content = json.loads(text)
            checkpoint, digest, target, precision = texts = [content[name] for name in TEXTS]
            limits = {str(name): int(value) for name, value in content["limits"].items()}
            bounds = Figures(*(float(content["bounds"][field.name]) for field in fields(Figures)))
            if not all(isinstance(value, str) and len(value) <= 1000 for value in texts):
                raise ValueError("no texts")
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
                RecursionError) as error:  # fmt: skip
            raise ContractError(
                "slimsam_info: expected a JSON object of what is served, got something else "
                f"({type(error).__name__}); build the artifacts again"
            ) from error
        return cls(checkpoint, digest, target, precision, limits, bounds)


def request_info() -> Steps[ModelInfo]:
    """Ask what is served."""
    answer = yield Call(replace(INFO, outputs=INFO.outputs[:1]), {})
    return ModelInfo.from_json(answer["info"][0])


@dataclass(frozen=True)
class ServedParity:
    """How far a running server is from what its build measured.

    Attributes:
        info: what is served.
        figures: how far the server's answers are from `SamModel`'s.
    """

    info: ModelInfo
    figures: Figures

    @property
    def missed(self) -> list[str]:
        """The figures beyond the bounds of the precision that is said to be served."""
        return self.figures.beyond(self.info.bounds)


def measure_parity() -> Steps[ServedParity]:
    """Ask for the reference answer, have the server answer the same, and compare."""
    answer = yield Call(INFO, {})
    info = ModelInfo.from_json(answer["info"][0])
    reference = ReferenceAnswer.from_bytes(answer["reference"][0])
    return ServedParity(info, (yield from measure(reference)))
