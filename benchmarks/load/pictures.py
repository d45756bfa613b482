"""Pictures for load tests: real photos and drawn scenes, never the same picture twice."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from slimsam_build.demo.scenes import draw_scene

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

PHOTOS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "rocket")
"""Color photos that scikit-image has in its wheel: its others are fetched from the network."""
SCENES = 6
LONGEST_SIDE = 1024
LEAST_CROP = 0.5
"""Side of the smallest crop, of the source's."""


def pictures(seed: int) -> Iterator[Picture]:
    """Give pictures without end: crops of photos and scenes, turned, mirrored, brighter or darker.

    Args:
        seed: equal seeds give equal pictures.
    """
    sources = _sources(seed)
    rng = np.random.default_rng(seed)
    while True:
        yield _variation(rng, sources[rng.integers(len(sources))])


@cache
def _sources(seed: int) -> list[Picture]:
    photos = [getattr(data, name)() for name in PHOTOS]
    return photos + [draw_scene(seed + number).image for number in range(SCENES)]


def _variation(rng: np.random.Generator, source: Picture) -> Picture:
    height, width = (int(side * rng.uniform(LEAST_CROP, 1)) for side in source.shape[:2])
    top = int(rng.integers(source.shape[0] - height + 1))
    left = int(rng.integers(source.shape[1] - width + 1))
    crop = np.rot90(source[top : top + height, left : left + width], rng.integers(4))
    if rng.integers(2):
        crop = crop[:, ::-1]
    image = Image.fromarray(crop).point(_brightness(rng.uniform(0.7, 1.3)))
    scale = LONGEST_SIDE / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _brightness(factor: float) -> list[int]:
    """A table for `Image.point`, for each of the three channels."""
    return [min(round(value * factor), 255) for value in range(256)] * 3
