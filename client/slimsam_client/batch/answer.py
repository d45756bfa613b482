"""What a batch finds in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from slimsam_client.encodings import Rle, rle_area, rle_box


@dataclass(frozen=True)
class FoundMask:
    """A mask of a picture.

    Attributes:
        counts: the runs of COCO's compressed RLE, as text.
        area: its pixels.
        bbox: x, y, width, height in pixels, as COCO has it; zeros for a mask without pixels.
        score: the model's own estimate of its IoU.
        category_id: the category of its prompt; 1 in everything mode.
        stability_score: of everything mode; None of a prompt's mask.
    """

    counts: str
    area: int
    bbox: Sequence[int]
    score: float
    category_id: int
    stability_score: float | None = None


@dataclass(frozen=True)
class Answer:
    """A picture's masks, or why there are none.

    Attributes:
        image: its name.
        height: in pixels; None if it failed.
        width: in pixels; None if it failed.
        error: why it failed.
        masks: in the order of its prompts, or in SAM's.
    """

    image: str
    height: int | None = None
    width: int | None = None
    error: str | None = None
    masks: list[FoundMask] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Give what JSON takes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Answer:
        """Read what `as_dict` gave."""
        masks = [FoundMask(**mask) for mask in content.pop("masks")]
        return cls(**content, masks=masks)


def found_mask(
    rle: Rle, score: float, category_id: int, stability_score: float | None = None
) -> FoundMask:
    """Describe a mask by its RLE."""
    x0, y0, x1, y1 = rle_box(rle) or (0, 0, 0, 0)
    return FoundMask(
        rle["counts"].decode("ascii"),
        rle_area(rle),
        [x0, y0, x1 - x0, y1 - y0],
        float(score),
        category_id,
        stability_score,
    )
