"""Records as SAM's dictionaries and as JSON, and back; and as supervision's detections."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slimsam_client import MaskError, MaskRecord, MissingExtraError, Prediction, SettingsError
from slimsam_client.encodings import rle_area, to_box, to_rle
from slimsam_client.integrations.supervision import to_supervision

# supervision says at import that it does without OpenCV.
pytestmark = pytest.mark.filterwarnings("ignore:OpenCV:UserWarning")


def record(mask: NDArray[np.bool_], stability_score: float = 0.96) -> MaskRecord:
    rle = to_rle(mask)
    x0, y0, x1, y1 = to_box(mask) or (0, 0, 1, 1)
    return MaskRecord(
        rle,
        rle_area(rle),
        (float(x0), float(y0), float(x1 - 1 - x0), float(y1 - 1 - y0)),
        0.123456789012345678,
        stability_score,
        (1.5, 2.25),
        (0.0, 0.0, float(mask.shape[1]), float(mask.shape[0])),
    )


def noise(*sizes: tuple[int, int]) -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(1)
    return [rng.random(size) < density for size in sizes for density in (0, 0.02, 0.3, 0.9, 1)]


def test_a_record_goes_through_json() -> None:
    for mask in noise((1, 1), (7, 5), (40, 90)):
        given = record(mask)
        content = json.loads(json.dumps(given.as_dict("coco_rle"), allow_nan=False))
        again = MaskRecord.from_dict(content)
        assert vars(again) == vars(given)
        assert np.array_equal(again.segmentation, mask)


def test_a_score_that_is_no_number_goes_through_json_too() -> None:
    given = record(np.zeros((3, 3), np.bool_), math.nan)
    text = json.dumps(given.as_dict("coco_rle"), allow_nan=False)
    assert math.isnan(MaskRecord.from_dict(json.loads(text)).stability_score)


def test_as_dict_is_sams_record() -> None:
    (mask,) = noise((7, 5))[2:3]
    content = record(mask).as_dict()
    assert np.array_equal(content["segmentation"], mask)
    assert content["point_coords"] == [[1.5, 2.25]] and content["area"] == mask.sum()
    with pytest.raises(SettingsError, match="output_mode"):
        record(mask).as_dict("uncompressed_rle")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"segmentation": None},
        {"segmentation": {"size": [7, 5]}},
        {"segmentation": {"size": [7, 6], "counts": "53"}},
        {"segmentation": {"size": [7], "counts": "S1"}},
        {"segmentation": {"size": [math.inf, 5], "counts": "S1"}},
        {"segmentation": {"size": [7.5, 5], "counts": "S1"}},
        {"segmentation": np.ones((7, 5), np.bool_)},
        {"segmentation": {"size": [7, 5], "counts": [35]}},
        {"segmentation": {"size": [7, 5], "counts": "\u00e9"}},
        {"area": "many"},
        {"area": math.inf},
        {"bbox": [1, 2, 3]},
        {"point_coords": [1, 2]},
        {"point_coords": []},
        {"crop_box": 5},
        {"predicted_iou": None},
    ],
)
def test_what_is_no_record_is_refused(change: dict[str, Any]) -> None:
    content = record(noise((7, 5))[2]).as_dict("coco_rle")
    with pytest.raises(MaskError):
        MaskRecord.from_dict({**content, **change})
    for name in change:
        del content[name]
        with pytest.raises(MaskError):
            MaskRecord.from_dict(content)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (30, 40), (1100, 1000)])
def test_records_as_detections(size: tuple[int, int]) -> None:
    import supervision

    masks = noise(size)
    records = [record(mask) for mask in masks]
    found = to_supervision(records)
    assert np.array_equal(np.asarray(found.mask), masks)
    assert np.array_equal(found.xyxy, supervision.mask_to_xyxy(np.array(masks)))
    assert found.confidence == pytest.approx([given.predicted_iou for given in records])
    assert found.data["stability_score"].tolist() == [0.96] * len(masks)
    large = [mask for mask in masks if mask.mean() > 0.5]
    assert np.array_equal(np.asarray(found[found.area > masks[0].size / 2].mask), large)


@pytest.mark.parametrize("prompts", [(), (4,)])
def test_a_prediction_as_detections(prompts: Sequence[int]) -> None:
    import supervision

    rng = np.random.default_rng(2)
    masks = rng.random((*prompts, 3, 20, 30)) < 0.3
    scores = rng.random((*prompts, 3), np.float32)
    logits = np.zeros((*prompts, 3, 256, 256), np.float32)
    prediction = Prediction(masks, scores, logits)
    found = to_supervision(prediction)
    expected = prediction.best_masks.reshape(-1, 20, 30)
    assert np.array_equal(found.mask, expected) and len(found) == (4 if prompts else 1)
    assert np.array_equal(found.xyxy, supervision.mask_to_xyxy(expected))
    assert np.array_equal(found.confidence, np.atleast_1d(scores.max(-1)))
    runs = to_supervision(Prediction(None, scores, logits, prediction.rles))
    assert np.array_equal(np.asarray(runs.mask), expected)
    assert np.array_equal(runs.xyxy, found.xyxy)
    assert np.array_equal(runs.confidence, found.confidence)
    with pytest.raises(MaskError, match="made with masks=None"):
        to_supervision(Prediction(None, scores, logits))


def test_no_prompts_are_no_detections() -> None:
    masks, scores = np.zeros((0, 3, 20, 30), np.bool_), np.zeros((0, 3), np.float32)
    logits = np.zeros((0, 3, 256, 256), np.float32)
    assert len(to_supervision(Prediction(masks, scores, logits))) == 0
    assert len(to_supervision(Prediction(None, scores, logits, []))) == 0


def test_detections_can_be_drawn() -> None:
    import supervision

    mask = np.zeros((60, 80), np.bool_)
    mask[20:40, 30:70] = True
    picture = supervision.MaskAnnotator(opacity=1).annotate(
        np.zeros((60, 80, 3), np.uint8), to_supervision([record(mask)])
    )
    assert np.array_equal(picture.any(axis=2), mask)


def test_no_records_are_no_detections() -> None:
    assert len(to_supervision([])) == 0
    given = [record(mask) for mask in noise((7, 5))]
    assert len(to_supervision(iter(given))) == len(given)


@pytest.mark.parametrize("result", [None, 7, [np.zeros((3, 4), np.bool_)], [{"area": 3}]])
def test_what_is_neither_prediction_nor_records(result: Any) -> None:
    with pytest.raises(MaskError, match="records: expected a list of MaskRecords"):
        to_supervision(result)


def test_detections_of_several_images_are_refused() -> None:
    with pytest.raises(MaskError, match="one image"):
        to_supervision([record(mask) for mask in noise((3, 4), (4, 3))])


def test_detections_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"slimsam-client\[supervision\]"):
        to_supervision([])
