"""Whether a server computes in the precision that its build has proved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from slimsam_client.client import SlimSam
from slimsam_client.errors import ModelNotReadyError, SlimSamError
from slimsam_client.parity.model_info import ServedParity


@dataclass(frozen=True)
class PrecisionHealth:
    """The health of the precision.

    Attributes:
        parity: what was measured; None if nothing was.
        unchecked: why nothing was measured, where that is no fault; else None.
        error: what is wrong; None if nothing is.
    """

    parity: ServedParity | None = None
    unchecked: str | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Give the object for JSON."""
        found = self.parity
        return {
            "checked": found is not None,
            "checkpoint": found and found.info.checkpoint,
            "digest": found and found.info.digest,
            "target": found and found.info.target,
            "precision": found and found.info.precision,
            "figures": found and asdict(found.figures),
            "error": self.error,
        }

    def __str__(self) -> str:
        """Give one line of text."""
        if self.error is not None:
            return f"wrong: {self.error}"
        if self.parity is None:
            return f"not checked: {self.unchecked}"
        info, figures = self.parity.info, self.parity.figures
        return (
            f"{info.precision} of {info.checkpoint} for {info.target}, as its build measured: "
            f"embedding error {figures.embedding_error:.1e}, mask IoU at least "
            f"{figures.mask_iou_min:.5f}"
        )


def examine_precision(sam: SlimSam) -> PrecisionHealth:
    """Compare a server whose models answer with its build's reference answer."""
    try:
        parity = sam.measure_parity()
    except ModelNotReadyError as error:
        return PrecisionHealth(unchecked=f"slimsam_info is not served ({error})")
    except SlimSamError as error:
        return PrecisionHealth(error=str(error))
    if not parity.missed:
        return PrecisionHealth(parity)
    info = parity.info
    return PrecisionHealth(
        parity,
        error=f"expected answers of {info.checkpoint} in {info.precision} for {info.target}, as "
        f"its build measured, got others: {'; '.join(parity.missed)}; does the server compute in "
        "another precision, or serve other artifacts?",
    )
