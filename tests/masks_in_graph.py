"""Everything mode by slimsam_masks: a repository that uses it, and records that are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.repository import set_masks_by
from slimsam_client import MaskRecord
from slimsam_client.serving.automatic import IN_GRAPH


def with_masks(repository: Path) -> Path:
    """Have everything mode of a repository use the graph."""
    set_masks_by(repository, IN_GRAPH)
    return repository


def check_same(records: list[MaskRecord], expected: list[MaskRecord]) -> None:
    """Compare records: two may have changed places where their scores are as good as equal."""
    assert len(records) == len(expected)
    left = list(records)
    for place, other in enumerate(expected):
        near = [r for r in left if abs(r.predicted_iou - other.predicted_iou) < 1e-5]
        mask = other.segmentation
        overlaps = [iou(record.segmentation, mask) for record in near]
        assert max(overlaps, default=0) >= 0.9999, place
        record = near[int(np.argmax(overlaps))]
        left.remove(record)
        assert abs(records[place].predicted_iou - other.predicted_iou) < 1e-5
        assert np.abs(np.subtract(record.bbox, other.bbox)).max() <= 1
        assert record.stability_score == pytest.approx(other.stability_score, abs=1e-5, nan_ok=True)
        assert (record.point_coords, record.crop_box) == (other.point_coords, other.crop_box)


def iou(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(mask | other)
    return np.count_nonzero(mask & other) / union if union else 1.0
