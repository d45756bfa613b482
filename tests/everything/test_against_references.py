"""Everything mode gives what transformers' pipeline and SAM's own generator give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slimsam_client import GenerateSettings, MaskRecord, SlimSam

pytestmark = pytest.mark.slow

Image = NDArray[np.uint8]

# The demo checkpoint scores itself lower than SAM does; these keep a dozen masks of each picture.
SETTINGS = GenerateSettings(points_per_side=8, pred_iou_thresh=0.75, stability_score_thresh=0.85)


def matched(ours: list[NDArray[np.bool_]], theirs: list[NDArray[np.bool_]]) -> list[float]:
    """The IoU of each of their masks with its own partner among ours."""
    left = list(ours)
    found = []
    for mask in theirs:
        ious = [(mask & other).sum() / max((mask | other).sum(), 1) for other in left]
        best = int(np.argmax(ious)) if ious else -1
        found.append(float(ious[best]) if ious else 0.0)
        if ious:
            left.pop(best)
    return found


def paired(ours: list[MaskRecord], theirs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of their records, the nearest one of each of ours, which none of the others has."""
    left = list(theirs)
    found = []
    for record in ours:
        mask = record.segmentation
        shared = [(mask & other["segmentation"]).sum() / other["area"] for other in left]
        sizes = [
            min(record.area, other["area"]) / max(record.area, other["area"]) for other in left
        ]
        found.append(left.pop(int(np.argmax(np.multiply(shared, sizes)))))
    return found


@pytest.mark.parametrize("number", [1, 2])
def test_as_transformers_pipeline(
    sam: SlimSam, pipeline: Callable[..., Any], scenes: list[Image], number: int
) -> None:
    masks, scores = pipeline(scenes[number], SETTINGS)
    records = sam.generate(scenes[number], SETTINGS)
    assert len(masks) >= 4
    ious = matched([record.segmentation for record in records], list(masks))
    assert min(ious) >= 0.98, ious
    assert len(records) <= len(masks) * 1.01
    assert np.allclose(
        sorted(record.predicted_iou for record in records), sorted(scores), atol=0.01
    )


@pytest.mark.parametrize(("layers", "least_area"), [(0, 0), (1, 0), (0, 2000)])
def test_as_sams_generator(
    sam: SlimSam,
    sam_generator: Callable[..., Any],
    scenes: list[Image],
    layers: int,
    least_area: int,
) -> None:
    settings = GenerateSettings(
        points_per_side=8,
        pred_iou_thresh=0.75,
        stability_score_thresh=0.85,
        crop_n_layers=layers,
        crop_n_points_downscale_factor=2,
        min_mask_region_area=least_area,
    )
    theirs = sam_generator(scenes[1], settings)
    ours = sam.generate(scenes[1], settings)
    assert len(theirs) >= 4
    ious = matched(
        [record.segmentation for record in ours], [record["segmentation"] for record in theirs]
    )
    assert min(ious) >= 0.98, ious
    assert len(ours) == len(theirs)
    if layers:
        assert len({record.crop_box for record in ours}) > 1
    # The same order, too, but for scores that are equal up to the wire's half precision.
    scores = [record.predicted_iou for record in ours]
    assert np.allclose(scores, [other["predicted_iou"] for other in theirs], atol=0.01)
    for record, other in zip(ours, paired(ours, theirs), strict=True):
        assert set(record.as_dict()) == set(other)
        assert abs(record.area - other["area"]) <= 0.02 * other["area"]
        assert np.allclose(record.bbox, other["bbox"], atol=2)
        assert record.predicted_iou == pytest.approx(other["predicted_iou"], abs=0.01)
        assert record.stability_score == pytest.approx(other["stability_score"], abs=0.01)
        assert np.allclose(record.point_coords, other["point_coords"][0])
        assert list(record.crop_box) == other["crop_box"]
