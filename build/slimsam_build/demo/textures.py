"""Fills for backgrounds and shapes: (size, size, 3) float32 images in 0..255."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float32]
Photos = Sequence[NDArray[np.uint8]]


def random_texture(rng: np.random.Generator, size: int, photos: Photos = ()) -> Pixels:
    """Draw one fill: plain, gradient, stripes, checks, clouds, or a crop of a photo.

    Args:
        rng: source of every choice.
        size: side in pixels.
        photos: RGB uint8 images that may serve as fills; none for reproducible scenes.
    """
    kind = rng.choice(6, p=[0.3, 0.25, 0.12, 0.08, 0.25, 0.0] if not photos else
                      [0.25, 0.2, 0.1, 0.05, 0.2, 0.2])  # fmt: skip
    first, second = rng.uniform(10, 245, (2, 3))
    # A texture's two colors stay near each other, so that an object is one thing to the eye.
    second = first + (second - first) * rng.uniform(0.15, 0.5)
    if kind == 0:
        return np.full((size, size, 3), first, np.float32)
    if kind == 5:
        return _photo(rng, size, photos)
    if kind == 4:
        blend = _clouds(rng, size)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:size, :size].astype(np.float32)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        if kind == 1:
            along -= along.min()
            blend = along / max(float(along.max()), 1.0)
        else:
            period = rng.uniform(10, 48)
            blend = (np.sin(along * (2 * np.pi / period)) > 0).astype(np.float32)
            if kind == 3:
                blend = np.abs(blend - (np.sin(across * (2 * np.pi / period)) > 0))
    return (first + (second - first) * blend[..., None]).astype(np.float32)


def _clouds(rng: np.random.Generator, size: int) -> Pixels:
    """Smooth noise in 0..1, (size, size)."""
    cells = int(rng.integers(2, 24))
    noise = Image.fromarray(rng.uniform(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC), np.float32)


def _photo(rng: np.random.Generator, size: int, photos: Photos) -> Pixels:
    """A random crop of a random photo, scaled to the size."""
    photo = photos[int(rng.integers(len(photos)))]
    side = int(min(photo.shape[:2]) * rng.uniform(0.15, 0.8))
    top = int(rng.integers(photo.shape[0] - side + 1))
    left = int(rng.integers(photo.shape[1] - side + 1))
    crop = Image.fromarray(photo[top : top + side, left : left + side])
    return np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR), np.float32)
