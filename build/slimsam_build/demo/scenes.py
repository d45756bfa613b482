"""Scenes: overlapping shapes on a background, with the mask of what is visible of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from slimsam_build.demo.shapes import random_shape
from slimsam_build.demo.textures import Photos, random_texture

LEAST_AREA = 600
"""Visible pixels below which an object is no object: about 24 x 24."""
LEAST_VISIBLE = 0.3
"""Visible part of a silhouette below which an object is no object."""
LEAST_CONTRAST = 40.0
"""Color distance, of 441, that an object has at least from what it is drawn over."""


@dataclass(frozen=True)
class Scene:
    """An image (S, S, 3) uint8 and its objects' visible masks (K, S, S) bool, K >= 1."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]


def draw_scene(seed: int, size: int = 1024, photos: Photos = ()) -> Scene:
    """Draw a scene.

    Args:
        seed: equal seeds, sizes and photos give equal scenes.
        size: side in pixels; objects have the same sizes in pixels in a larger scene, only more.
        photos: images that may serve as textures.

    Returns:
        The scene; masks never overlap.
    """
    rng = np.random.default_rng(seed)
    while True:
        scene = _draw(rng, size, photos)
        if scene is not None:
            return scene


def _draw(rng: np.random.Generator, size: int, photos: Photos) -> Scene | None:
    canvas = random_texture(rng, size, photos)
    few, many = (2, 4) if size <= 256 else (3, 6) if size <= 512 else (4, 10)
    owner = np.zeros((size, size), np.int16)
    areas = []
    for number in range(1, int(rng.integers(few, many + 1)) + 1):
        shape = random_shape(rng, size, 40 if size <= 256 else 50)
        area = int(shape.sum())
        areas.append(area)
        if area < LEAST_AREA:
            continue
        under = canvas[shape].mean(axis=0)
        for _ in range(8):
            fill = random_texture(rng, size, photos)
            if np.linalg.norm(fill[shape].mean(axis=0) - under) >= LEAST_CONTRAST:
                break
        if rng.random() < 0.3:
            canvas *= _shadow(rng, shape)[..., None]
        canvas[shape] = fill[shape]
        owner[shape] = number
    masks = [owner == number for number in range(1, len(areas) + 1)]
    kept = [
        mask
        for mask, area in zip(masks, areas, strict=True)
        if mask.sum() >= max(LEAST_AREA, LEAST_VISIBLE * area)
    ]
    if not kept:
        return None
    return Scene(_photograph(rng, canvas), np.stack(kept))


def _shadow(rng: np.random.Generator, shape: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Factors below 1 under a blurred, shifted silhouette."""
    down, right = rng.integers(4, 16, 2)
    shifted = np.zeros(shape.shape, np.uint8)
    shifted[down:, right:] = shape[:-down, :-right]
    image = Image.fromarray(shifted * 255)
    blurred = np.asarray(image.filter(ImageFilter.BoxBlur(6)), np.float32)
    return 1 - blurred * np.float32(rng.uniform(0.2, 0.5) / 255)


def _photograph(rng: np.random.Generator, canvas: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Light from one side, a slight blur, sensor noise."""
    size = len(canvas)
    slope = rng.uniform(-0.25, 0.25, 2)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    light = 1 + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    image = Image.fromarray(np.clip(canvas * light[..., None], 0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))
    noise = rng.standard_normal((size, size, 1), np.float32) * rng.uniform(0, 10)
    return np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8)
