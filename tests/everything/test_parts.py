"""The parts of everything mode against SAM's own functions, and independent ones."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from skimage.morphology import label, remove_small_holes, remove_small_objects

from benchmarks.comparison.mask_generation import batched_nms
from slimsam_client import GenerateSettings, SettingsError
from slimsam_client.everything.crops import crop_boxes, point_grid
from slimsam_client.everything.nms import box_nms
from slimsam_client.everything.regions import remove_small_regions


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("size", [(480, 640), (1001, 333), (64, 64)])
@pytest.mark.parametrize("ratio", [512 / 1500, 0, 0.7])
def test_crops_are_sams(
    plain_torchvision: None, size: tuple[int, int], layers: int, ratio: float
) -> None:
    from segment_anything.utils.amg import generate_crop_boxes

    boxes, numbers = generate_crop_boxes(size, layers, ratio)
    ours = crop_boxes(*size, layers, ratio)
    found = [(number, list(box)) for number, layer in enumerate(ours) for box in layer]
    assert found == list(zip(numbers, boxes, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 50), (50, 2)])
def test_every_crop_of_a_tiny_image_has_pixels(size: tuple[int, int]) -> None:
    """Where SAM fails."""
    layers = crop_boxes(*size, 4, 512 / 1500)
    for layer in layers:
        seen = np.zeros(size, np.bool_)
        for x0, y0, x1, y1 in layer:
            assert 0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]
            seen[y0:y1, x0:x1] = True
        assert seen.all()


@pytest.mark.parametrize("per_side", [1, 7, 32])
def test_grids_are_sams(plain_torchvision: None, per_side: int) -> None:
    from segment_anything.utils.amg import build_all_layer_point_grids

    (theirs,) = build_all_layer_point_grids(per_side, 0, 1)
    assert np.allclose(point_grid(per_side, 300, 400), theirs * [400, 300], rtol=1e-12)


def test_suppression_is_torchvisions() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 50, 200):
        corners = rng.integers(0, 60, (count, 2, 2)).astype(np.float32)
        boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
        scores = rng.integers(0, 12, count).astype(np.float32) / 12  # many are equal
        for threshold in (0.0, 0.3, 0.7, 1.0):
            theirs = batched_nms(
                torch.from_numpy(boxes),
                torch.from_numpy(scores),
                torch.zeros(count),
                threshold,
            )
            assert box_nms(boxes, scores, threshold).tolist() == theirs.tolist()


def test_small_holes_are_filled_and_small_regions_dropped() -> None:
    rng = np.random.default_rng(1)
    for share in (0.3, 0.5, 0.7):
        mask = rng.random((80, 90)) < share
        cleaned, changed = remove_small_regions(mask, 9)
        filled = remove_small_holes(mask, 9, connectivity=2)
        expected = remove_small_objects(filled, 9, connectivity=2)
        assert changed and np.array_equal(cleaned, expected)
        again, changed = remove_small_regions(cleaned, 9)
        assert np.array_equal(again, cleaned) and not changed


def test_regions_are_numbered_in_little_memory() -> None:
    """A mask of everything mode may have 179 million pixels."""
    mask = np.zeros((2500, 2000), np.bool_)
    mask[100:2000, 100:1500] = True
    expected = mask.copy()
    mask[500:502, 500:502] = False
    mask[2400, 1900] = True
    tracemalloc.start()
    try:
        cleaned, changed = remove_small_regions(mask, 9)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert changed and np.array_equal(cleaned, expected)
    assert most < 11 * mask.size


def test_the_largest_region_stays() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[2:4, 2:5] = mask[10, 10] = True  # 6 pixels and 1
    cleaned, changed = remove_small_regions(mask, 50)
    assert changed and cleaned.sum() == 6 and label(cleaned).max() == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("points_per_side", 0), ("points_per_batch", 65), ("pred_iou_thresh", 1.1),
     ("crop_n_layers", 1.0), ("crop_n_layers", True), ("box_nms_thresh", float("nan"))],
)  # fmt: skip
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name}: expected .* within .* got {value!r}"):
        GenerateSettings(**{name: value})


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", b"\xff", "[" * 100_000, '{"points_per_side": NaN}', '{"points_per_side": 1e999}',
     '{"points_per_side": "' + "9" * 100_000 + '"}', '{"' + "x" * 100_000 + '": 1}'],
    ids=["cut off", "a list", "no text", "nested", "NaN", "infinity", "long value", "long name"],
)  # fmt: skip
def test_what_are_no_settings_is_refused_in_few_words(text: str | bytes) -> None:
    with pytest.raises(SettingsError) as caught:
        GenerateSettings.from_json(text)
    assert len(str(caught.value)) < 700  # a gRPC status has room for 8 kB
