"""Masks in the image's pixels against SAM's own steps in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from slimsam_client.image import resized_size
from slimsam_client.masks import SERIAL_PRODUCT, upscale_logits, upscale_masks, upscaled_bands

SIZES = [(300, 451), (1024, 1024), (1, 1), (2048, 1500), (37, 1024), (3, 2999), (768, 1024)]


@pytest.mark.parametrize("size", SIZES)
def test_equal_sams_postprocessing(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(0, 4, (2, 3, 16, 16)).astype(np.float32))
    logits = F.interpolate(coarse, (256, 256), mode="bicubic")
    height, width = resized_size(*size)
    whole = F.interpolate(logits, (1024, 1024), mode="bilinear", align_corners=False)
    cut = whole[..., :height, :width]
    expected = F.interpolate(cut, size, mode="bilinear", align_corners=False)
    masks = upscale_masks(logits.numpy(), (height, width), size)
    assert masks.shape == (2, 3, *size) and masks.dtype == np.bool_
    # Only where a logit is zero up to rounding may the two disagree.
    unequal = masks != (expected > 0).numpy()
    assert unequal.mean() < 1e-5 or unequal.sum() <= 1
    assert not unequal[np.abs(expected.numpy()) > 1e-4].any()


def test_memory_stays_that_of_the_masks() -> None:
    import tracemalloc

    logits = np.random.default_rng(0).normal(size=(16, 256, 256)).astype(np.float32)
    upscale_masks(logits[:1], (1024, 1024), (2000, 2000))  # makes the matrices
    tracemalloc.start()
    masks = upscale_masks(logits, (1024, 1024), (2000, 2000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < masks.nbytes + 3 * 4 * 2000 * 2000


@pytest.mark.parametrize("size", [*SIZES, (3000, 4000), (900, 20_000)])
def test_products_are_small_enough_for_one_thread(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    products = []

    def matmul(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None:
        products.append(a.shape[0] * a.shape[1] * b.shape[1])
        out[...] = a @ b

    monkeypatch.setattr(np, "matmul", matmul)
    upscale_masks(np.ones((256, 256), np.float32), resized_size(*size), size)
    assert 1 <= max(products) <= SERIAL_PRODUCT


def test_a_window_is_a_part_of_the_whole() -> None:
    logits = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    size = (300, 451)
    whole = upscale_logits(logits, resized_size(*size), size)
    for rows, columns in [((0, 300), (0, 451)), ((7, 8), (13, 450)), ((120, 299), (450, 451))]:
        window = slice(*rows), slice(*columns)
        part = np.full_like(whole[window], np.nan)
        for pixels, values in upscaled_bands(logits, resized_size(*size), size, window):
            part[pixels] = values
        np.testing.assert_allclose(part, whole[window], atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_small_masks_and_none(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    logits = np.full((64, 256, 256), -1, np.float32)
    for index, (y, x) in enumerate(rng.integers(0, 250, (63, 2))):  # the last one stays empty
        logits[index, y : y + 1 + index % 6, x : x + 1 + index % 5] = rng.uniform(0.5, 9)
    valid = resized_size(*size)
    masks = upscale_masks(logits, valid, size)
    np.testing.assert_array_equal(masks, upscale_logits(logits, valid, size) > 0)
    assert not masks[-1].any()
    seen = logits[:, : -(-valid[0] // 4), : -(-valid[1] // 4)].max(axis=(1, 2)) > 0
    if min(size) > 256:
        np.testing.assert_array_equal(masks.any(axis=(1, 2)), seen)
