"""Prompts by the names of columns: of Parquet files, and of the JSON in a webdataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from slimsam_client.batch.prompts import Prompts

NAMES: Final = ("box", "boxes", "points", "labels", "category", "categories")
"""`boxes` (P, 4), `points` (P, N, 2), `labels` (P, N), `categories` (P,); or, of one prompt, `box`
(4,) and `category`."""


def prompts_of_columns(values: Mapping[str, Any]) -> Prompts:
    """Make prompts of a row's values, or of an object of JSON.

    Raises:
        TypeError: a value is no list of numbers.
        ValueError: shapes are wrong, or boxes and categories are not as many.
    """
    given = {name: _plain(values.get(name)) for name in NAMES}
    boxes, points, labels = given["boxes"], given["points"], given["labels"]
    categories = given["categories"]
    if boxes is None and given["box"] is not None:
        boxes = [given["box"]]
    if categories is None and given["category"] is not None:
        categories = [int(given["category"])]
    if boxes is not None:
        boxes = [_numbers(box, 4) for box in boxes]
    if points is not None:
        points = [[_numbers(point, 2) for point in prompt] for prompt in points]
    if labels is not None:
        labels = [[int(label) for label in prompt] for prompt in labels]
    if categories is not None:
        categories = [int(category) for category in categories]
    if boxes is None and points is None:
        boxes = []
    prompts = Prompts(boxes, points, labels, categories)
    for name in ("points", "labels", "categories"):
        value = getattr(prompts, name)
        if value is not None and len(value) != len(prompts):
            raise ValueError(f"{name}: expected {len(prompts)}, one for each prompt")
    return prompts


def _plain(value: Any) -> Any:
    """Lists of Python's numbers, of whatever a library gives."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _numbers(values: Any, count: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"expected {count} finite numbers, got {values!r:.80}")
    return numbers
