"""The fake models' segmentation: a click selects the region of its color, as `FakeServer` says.

All of it happens on the 256 x 256 cells of the low-resolution masks. The fake embedding is the
picture at that size, so that answers depend on the image, whoever kept its embedding.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    EMBEDDING_CHANNELS,
    EMBEDDING_SIZE,
    FOREGROUND,
    IMAGE_SIZE,
    LOW_RES_SIZE,
    NUM_MASKS,
)
from slimsam_client.encodings import to_box
from slimsam_client.testing.regions import Mask, Regions

PART_RADIUS: Final = 64
"""The smallest candidate reaches this far from a click, in pixels of the 1024 frame."""
CUT_RADIUS: Final = 32
"""A background point cuts out a disc of this radius, in pixels of the 1024 frame."""
LOGIT: Final = 20.0
"""Pixels inside a mask have this logit, those outside its negative."""
SCORES: Final = (0.9, 0.7, 0.95, 0.8)
"""The region has the first score as the single mask; the other scores are those of the three
candidates: a part of the region, the region, and its bounding box."""

CELL: Final = IMAGE_SIZE // LOW_RES_SIZE
CENTERS: Final = (np.arange(LOW_RES_SIZE) + 0.5) * CELL
"""The cells along either axis have these centers, in pixels of the 1024 frame."""
BLOCK: Final = LOW_RES_SIZE // EMBEDDING_SIZE
"""One place of the embedding covers so many cells along each side."""
COLORS: Final = BLOCK * BLOCK * 3
"""So many channels of the embedding are in use."""


def encode(image: NDArray[np.uint8], input_size: NDArray[np.int32]) -> NDArray[np.float16]:
    """Make the fake embedding.

    Args:
        image: (1024, 1024, 3) uint8, RGB.
        input_size: (2,) int32, (height, width) of its valid part.

    Returns:
        (256, 64, 64) float16: the colors, 0..255, of 4 x 4 cells in the first 48 channels, zeros
        in the others.
    """
    # The padding takes the colors of the edge beside it, so that a click on the edge is inside.
    rows, columns = (np.minimum(CENTERS.astype(np.int64), side - 1) for side in input_size)
    cells = image[rows[:, None], columns].reshape(EMBEDDING_SIZE, BLOCK, EMBEDDING_SIZE, BLOCK, 3)
    embedding = np.zeros((EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE), np.float16)
    embedding[:COLORS] = cells.transpose(1, 3, 4, 0, 2).reshape(COLORS, *embedding.shape[1:])
    return embedding


def decode(
    image_embeddings: NDArray[np.float16],
    point_coords: NDArray[np.float32],
    point_labels: NDArray[np.int32],
    mask_input: Mask | None,
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Answer prompts.

    Args:
        image_embeddings: (256, 64, 64) float16, as `encode` gives it.
        point_coords: (P, N, 2) float32, (x, y) in the 1024 frame.
        point_labels: (P, N) int32, the contract's labels.
        mask_input: (256, 256) bool, an earlier answer's inside, or None.

    Returns:
        low_res_masks (P, 4, 256, 256) float16 and iou_predictions (P, 4) float32.
    """
    cells = image_embeddings[:COLORS].astype(np.float32)
    cells = cells.reshape(BLOCK, BLOCK, 3, EMBEDDING_SIZE, EMBEDDING_SIZE)
    regions = Regions(cells.transpose(3, 0, 4, 1, 2).reshape(LOW_RES_SIZE, LOW_RES_SIZE, 3))
    masks = np.zeros((len(point_labels), NUM_MASKS, LOW_RES_SIZE, LOW_RES_SIZE), np.bool_)
    for mask, coords, labels in zip(masks, point_coords, point_labels, strict=True):
        # In double precision the square of a far-away coordinate is still finite.
        mask[:] = _candidates(regions, coords.astype(np.float64), labels, mask_input)
    logits = np.where(masks, np.float16(LOGIT), np.float16(-LOGIT))
    return logits, np.tile(np.array(SCORES, np.float32), (len(masks), 1))


def _candidates(
    regions: Regions, coords: NDArray[np.float64], labels: NDArray[np.int32], given: Mask | None
) -> Mask:
    """Give the four masks (4, 256, 256) of one prompt, of points (N, 2) and labels (N,)."""
    clicks = coords[labels == FOREGROUND]
    inside = np.ones((LOW_RES_SIZE, LOW_RES_SIZE), np.bool_)
    if np.isin(labels, (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)).any():
        low = next(iter(coords[labels == BOX_TOP_LEFT]), np.zeros(2))
        high = next(iter(coords[labels == BOX_BOTTOM_RIGHT]), np.full(2, float(IMAGE_SIZE)))
        middle = (low + high) / 2
        inside = _box(middle, (high - low) / 2)
        clicks = clicks if len(clicks) else middle[None]
    region = np.zeros_like(inside) if given is None else given.copy()
    for x, y in np.clip(clicks // CELL, 0, LOW_RES_SIZE - 1).astype(np.int64):
        region |= regions.at(y, x)
    region &= inside
    part = region & _near(clicks, PART_RADIUS) if len(clicks) else region
    whole = np.zeros_like(region)
    if (bounds := to_box(region)) is not None:
        whole[bounds[1] : bounds[3], bounds[0] : bounds[2]] = True
    kept = ~_near(coords[labels == BACKGROUND], CUT_RADIUS)
    return np.stack([region, part, region, whole]) & kept


def _box(middle: NDArray[np.float64], half: NDArray[np.float64]) -> Mask:
    """Give the cells of a box, one at least; its middle and half its size are (x, y)."""
    columns, rows = (
        np.abs(CENTERS - center) <= max(reach, CELL / 2)
        for center, reach in zip(middle, half, strict=True)
    )
    inside: Mask = rows[:, None] & columns
    return inside


def _near(points: NDArray[np.float64], radius: float) -> Mask:
    """Give the cells within a distance of any of the points (n, 2)."""
    near = np.zeros((LOW_RES_SIZE, LOW_RES_SIZE), np.bool_)
    for x, y in points:
        near |= (CENTERS - x) ** 2 + (CENTERS[:, None] - y) ** 2 <= radius**2
    return near
