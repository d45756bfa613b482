"""What the encoder and the decoder answer to a model that asks them: numbers, or nothing."""

from __future__ import annotations

from typing import Final

from slimsam_client.contract import DECODER, ENCODER, Arrays, ModelSpec
from slimsam_client.errors import ServerError
from slimsam_client.numeric import is_finite

NUMBERS: Final = frozenset(tensor.name for tensor in (*ENCODER.outputs, *DECODER.outputs))
"""These outputs are numbers; a stability score may be NaN."""


def checked_numbers(spec: ModelSpec, answer: Arrays) -> Arrays:
    """Give an answer as it is, if a client that asked the model itself would take it.

    Args:
        spec: the model that gave it.
        answer: its outputs, without a batch axis.

    Raises:
        ServerError: there is a NaN or an infinity among its numbers. Everything mode would take
            such masks for none, and an embedding would be kept.
    """
    for name in NUMBERS & answer.keys():
        if not is_finite(answer[name]):
            raise ServerError(
                f"{spec.name}: expected numbers in the output {name}, got NaN or infinity; does "
                "its precision overflow? try `slimsam health`, and another precision"
            )
    return answer
