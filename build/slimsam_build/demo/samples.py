"""Training samples: scenes and the prompts that a user might give for their objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import IterableDataset

from slimsam_build.demo.scenes import draw_scene
from slimsam_build.demo.textures import Photos
from slimsam_client.contract import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    IMAGE_SIZE,
    NOT_A_POINT,
    PATCH_SIZE,
    PIXEL_MEAN,
    PIXEL_STD,
)

OBJECTS_PER_IMAGE = 6
HELD_OUT_SEED = 1_000_000_000
"""Seeds from here on are for evaluation only."""


@dataclass
class Sample:
    """One image with K = OBJECTS_PER_IMAGE prompted objects (an object may occur twice)."""

    pixels: Tensor  # (3, S, S) float32, normalized
    targets: Tensor  # (K, S / 4, S / 4) float32, covered part of each cell
    coords: Tensor  # (K, 2, 2) float32, (x, y) in the crop
    labels: Tensor  # (K, 2) int64


class Samples(IterableDataset[Sample]):
    """Endless samples of one crop size, each drawn once.

    Args:
        size: side of the crops in pixels.
        first: seed of the first scene.
        photos: images that may serve as textures.
    """

    def __init__(self, size: int, first: int, photos: Photos = ()) -> None:
        self.size = size
        self.first = first
        self.photos = photos

    def __iter__(self) -> Iterator[Sample]:
        """Draw scene after scene."""
        for seed in range(self.first, HELD_OUT_SEED):
            yield self._sample(seed)

    def _sample(self, seed: int) -> Sample:
        scene = draw_scene(seed, self.size, self.photos)
        rng = np.random.default_rng([seed, 1])
        chosen = rng.permutation(np.arange(OBJECTS_PER_IMAGE) % len(scene.masks))
        prompts = [random_prompt(rng, scene.masks[index]) for index in chosen]
        masks = torch.from_numpy(scene.masks[chosen]).float()
        return Sample(
            normalize(scene.image),
            F.avg_pool2d(masks[:, None], 4)[:, 0],
            torch.tensor(np.stack([coords for coords, _ in prompts])),
            torch.tensor(np.stack([labels for _, labels in prompts])),
        )


def normalize(image: NDArray[np.uint8]) -> Tensor:
    """Turn (S, S, 3) uint8 into (3, S, S) float32, as SAM does."""
    mean, deviation = np.array((PIXEL_MEAN, PIXEL_STD), np.float32)
    return torch.from_numpy((image - mean) / deviation).permute(2, 0, 1).contiguous()


def random_prompt(
    rng: np.random.Generator, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A click inside the mask, or its box, often with noise: coords (2, 2) and labels (2,)."""
    kind = rng.random()
    if kind < 0.4:
        click = inner_point(rng, mask)
        return (
            np.array([click, (0, 0)], np.float32),
            np.array([FOREGROUND, NOT_A_POINT], np.int64),
        )
    box = np.array(bounding_box(mask), np.float64)
    if kind < 0.7:
        # SAM's noise: a tenth of the side as deviation, at most 20 pixels.
        sides = np.tile(box[2:] - box[:2], 2)
        box += np.clip(rng.standard_normal(4) * 0.1 * sides, -20, 20)
    corners = np.clip(box, 0, len(mask)).reshape(2, 2).astype(np.float32)
    return corners, np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], np.int64)


def inner_point(rng: np.random.Generator, mask: NDArray[np.bool_]) -> tuple[int, int]:
    """A random (x, y) of the mask, uniform over its pixels."""
    rows, columns = np.nonzero(mask)
    index = int(rng.integers(len(rows)))
    return int(columns[index]), int(rows[index])


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The mask's (x0, y0, x1, y1); the right and lower edges are exclusive."""
    columns, rows = np.nonzero(mask.any(0))[0], np.nonzero(mask.any(1))[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def random_offset(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Where in the 1024 frame a crop lies: (row, column) of its first token."""
    room = (IMAGE_SIZE - size) // PATCH_SIZE
    return int(rng.integers(room + 1)), int(rng.integers(room + 1))


def correction(
    rng: np.random.Generator, logits: Tensor, target: Tensor
) -> tuple[tuple[float, float], int]:
    """The next click, where logits (h, w) and target (h, w) disagree: (x, y) and its label."""
    truth = target > 0.5
    wrong = ((logits > 0) != truth).nonzero()
    if len(wrong) == 0:
        wrong = truth.nonzero() if truth.any() else (~truth).nonzero()
    row, column = wrong[int(rng.integers(len(wrong)))].tolist()
    return (4.0 * column + 2, 4.0 * row + 2), int(truth[row, column])
