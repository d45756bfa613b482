"""Masks in the image's pixels against SAM's own steps in torch."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from installed import require
from numpy.typing import NDArray

from slimsam_client.encodings import from_rle, to_rle
from slimsam_client.encodings.window import BAND_PIXELS, window_to_rle
from slimsam_client.image.load import resized_size
from slimsam_client.masks.axis import CACHED_BYTES, AxisCache, axes, make_axis
from slimsam_client.masks.upscale import (
    SERIAL_PRODUCT,
    upscale_logits,
    upscale_masks,
    upscale_window,
    upscaled_bands,
)

SIZES = [(300, 451), (1024, 1024), (1, 1), (2048, 1500), (37, 1024), (3, 2999), (768, 1024)]


@pytest.mark.parametrize("size", SIZES)
def test_equal_sams_postprocessing(size: tuple[int, int]) -> None:
    require("torch")
    import torch
    from torch.nn import functional as F

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


@pytest.mark.parametrize("size", SIZES)
def test_a_mask_is_encoded_by_its_window(size: tuple[int, int]) -> None:
    logits = np.full((4, 256, 256), -1, np.float32)  # the last one stays empty
    logits[0] = 1
    logits[1, 30:60, 20:31] = logits[2, :2, :256:3] = 1
    valid = resized_size(*size)
    for one, mask in zip(logits, upscale_masks(logits, valid, size), strict=True):
        corner, window = upscale_window(one, valid, size)
        assert window_to_rle(window, corner, size) == to_rle(mask)


def test_windows_of_any_masks_are_encoded() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        height, width = rng.integers(1, 7, 2).tolist()
        top, bottom = sorted(rng.integers(0, height + 1, 2).tolist())
        left, right = sorted(rng.integers(0, width + 1, 2).tolist())
        mask = np.zeros((height, width), np.bool_)
        inside = mask[top:bottom, left:right]
        inside[...] = rng.random(inside.shape) < rng.choice([0, 0.5, 0.9, 1])
        rle = window_to_rle(inside, (top, left), (height, width))
        assert rle == to_rle(mask) and np.array_equal(from_rle(rle), mask)


def test_a_window_of_several_bands_is_encoded() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((720, 320), np.bool_)
    inside = mask[10:710, 5:305]
    assert inside.size > 3 * BAND_PIXELS and BAND_PIXELS // 701 > 2 * (300 % (BAND_PIXELS // 701))
    for share in (0.5, 0.999, 1):
        inside[...] = rng.random(inside.shape) < share
        assert window_to_rle(inside, (10, 5), mask.shape) == to_rle(mask)
    mask[...] = True  # one run, through all bands
    assert window_to_rle(mask, (0, 0), mask.shape) == to_rle(mask)


def test_what_is_kept_for_many_sizes_is_bounded() -> None:
    cache = AxisCache(limit=200_000)
    for size in range(1000, 1030):
        axis = cache.get(1024, size)
        assert cache.get(1024, size) is axis  # the last one is kept
        assert cache.nbytes <= 200_000
    large = cache.get(1024, 60_000)
    assert large.nbytes > 200_000 and cache.nbytes == large.nbytes
    cache.get(1024, 1000)
    assert cache.nbytes <= 200_000


def test_sizes_of_photos_take_little() -> None:
    axis = make_axis(1024, 4000)
    arrays = [axis.first, axis.end, *(matrix for _, _, matrix in axis.bands)]
    assert axis.nbytes == sum(array.nbytes for array in arrays) < 120_000
    assert not any(array.flags.writeable for array in arrays)
    assert 40 * axis.nbytes < CACHED_BYTES
    upscale_masks(np.ones((256, 256), np.float32), (1024, 768), (400, 300))
    assert axes.get(1024, 400) is axes.get(1024, 400)


def test_a_long_side_is_computed_in_parts() -> None:
    side = 2**17
    tracemalloc.start()
    axis = make_axis(1024, side)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(pixels.stop - pixels.start for pixels, _, _ in axis.bands) == side
    assert peak < side * 256 * 8 / 4  # of the matrix in double precision


def test_threads_share_what_is_kept() -> None:
    cache = AxisCache(limit=100_000)
    faults: list[Exception] = []

    def work(seed: int) -> None:
        try:
            for size in np.random.default_rng(seed).integers(900, 1100, 20).tolist():
                axis = cache.get(1024, size)
                assert axis.bands[-1][0].stop == size and cache.nbytes <= 100_000
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
