"""Prompts of one picture of a batch, given by others: boxes, points, and what they are of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Box = Sequence[float]
"""x0, y0, x1, y1."""


@dataclass(frozen=True)
class Prompts:
    """P prompts of one picture; what is None is not given.

    Attributes:
        boxes: (P, 4), x0, y0, x1, y1 in pixels.
        points: (P, N_i, 2), x, y in pixels.
        labels: (P, N_i), 1 foreground, 0 background.
        categories: (P,), the id of each prompt's category.
        relative: whether coordinates are shares of the picture's width and height, as in YOLO.
    """

    boxes: Sequence[Box] | None = None
    points: Sequence[Sequence[Sequence[float]]] | None = None
    labels: Sequence[Sequence[int]] | None = None
    categories: Sequence[int] | None = None
    relative: bool = False

    def __len__(self) -> int:
        """Count the prompts."""
        return len(self.boxes if self.boxes is not None else self.points or ())

    def arguments(self, size: tuple[int, int]) -> dict[str, Any]:
        """Give the arguments of `SlimSam.predict`, in pixels of a picture (height, width).

        Boxes of detectors may reach out of the picture; they are clipped to it.
        """
        height, width = size
        scale = np.array([width, height], np.float64) if self.relative else np.ones(2)
        given: dict[str, Any] = {}
        if self.boxes is not None:
            corners = np.asarray(self.boxes, np.float64).reshape(-1, 2, 2) * scale
            clipped = np.clip(corners, 0, (width, height))
            # One that lies outside altogether stays as it is, to be refused by what it is.
            outside = (clipped[:, 0] >= clipped[:, 1]).any(axis=1)
            clipped[outside] = corners[outside]
            given["box"] = clipped.reshape(-1, 4)
        if self.points is not None:
            given["points"] = [
                np.asarray(points, np.float64).reshape(-1, 2) * scale for points in self.points
            ]
            if self.labels is not None:
                given["labels"] = list(self.labels)
        return given

    def as_dict(self) -> dict[str, Any]:
        """Give what JSON takes; what is not given is left out."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


def join_prompts(parts: Iterable[Prompts]) -> Prompts:
    """Put the prompts of one picture together.

    Raises:
        ValueError: some have boxes and others none, or the like.
    """
    given = list(parts)
    joined: dict[str, Any] = {}
    for name in ("boxes", "points", "labels", "categories"):
        values = [getattr(part, name) for part in given]
        if all(value is None for value in values):
            continue
        if any(value is None for value in values):
            raise ValueError(f"{name} of some prompts and not of others")
        joined[name] = [item for value in values for item in value]
    return Prompts(**joined, relative=any(part.relative for part in given))
