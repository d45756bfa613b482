"""The demo's scenes and prompts: what training and evaluation rest on."""

from __future__ import annotations

import numpy as np
import pytest

from slimsam_build.demo.samples import (
    HELD_OUT_SEED,
    OBJECTS_PER_IMAGE,
    Samples,
    bounding_box,
    inner_point,
    random_prompt,
)
from slimsam_build.demo.scenes import LEAST_AREA, draw_scene


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_a_seed_gives_one_scene(size: int) -> None:
    first, again, other = (draw_scene(seed, size) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == (size, size, 3) and first.image.dtype == np.uint8


def test_masks_are_visible_and_disjoint() -> None:
    for seed in range(20):
        scene = draw_scene(seed, 512)
        assert len(scene.masks) >= 1
        assert scene.masks.sum(axis=0).max() == 1
        assert scene.masks.sum(axis=(1, 2)).min() >= LEAST_AREA


def test_prompts_describe_their_object() -> None:
    rng = np.random.default_rng(0)
    scene = draw_scene(1, 512)
    kinds = set()
    for _ in range(50):
        for mask in scene.masks:
            column, row = inner_point(rng, mask)
            assert mask[row, column]
            coords, labels = random_prompt(rng, mask)
            kinds.add(tuple(labels.tolist()))
            x, y = coords[0]
            if labels[0] == 1:
                assert mask[int(y), int(x)]
            else:
                assert np.abs(coords.ravel() - bounding_box(mask)).max() <= 20
    assert kinds == {(1, -1), (2, 3)}


def test_a_bounding_box_holds_its_mask_tightly() -> None:
    mask = np.zeros((20, 30), bool)
    mask[3:7, 10:25] = True
    assert bounding_box(mask) == (10, 3, 25, 7)


def test_samples_follow_their_seeds() -> None:
    samples = iter(Samples(256, 7))
    first, second = next(samples), next(samples)
    assert first.pixels.shape == (3, 256, 256)
    assert first.targets.shape == (OBJECTS_PER_IMAGE, 64, 64)
    assert first.coords.shape == (OBJECTS_PER_IMAGE, 2, 2)
    assert np.array_equal(second.pixels, next(iter(Samples(256, 8))).pixels)
    assert not list(Samples(256, HELD_OUT_SEED)), "training must never see held-out scenes"
