"""Masks in the image's pixels against SAM's own steps in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from slimsam_client.image import resized_size
from slimsam_client.masks import upscale_masks

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
