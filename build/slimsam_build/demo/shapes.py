"""Silhouettes: boolean masks of one random shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.bool_]


def random_shape(
    rng: np.random.Generator, size: int, smallest: float = 50, largest: float = 450
) -> Mask:
    """Draw the silhouette of one shape.

    Args:
        rng: source of every choice.
        size: side of the canvas in pixels.
        smallest: least diameter in pixels.
        largest: greatest diameter in pixels; never more than 0.7 of the canvas.

    Returns:
        (size, size), True inside.
    """
    largest = max(min(largest, 0.7 * size), smallest + 1)
    # Log-uniform: small things are as common as large ones.
    radius = float(np.exp(rng.uniform(np.log(smallest), np.log(largest)))) / 2
    center = rng.uniform(0.05 * size, 0.95 * size, 2)
    turn = rng.uniform(0, 2 * np.pi)
    squeeze = rng.uniform(0.5, 1.0)
    kind = rng.choice(6, p=[0.25, 0.2, 0.15, 0.1, 0.2, 0.1])
    if kind == 0:
        outline = _ellipse(64)
    elif kind == 1:
        outline = _rounded_rectangle(rng.uniform(0.0, 0.5))
    elif kind == 2:
        outline = _polygon(rng, int(rng.integers(3, 8)))
    elif kind == 3:
        outline = _star(int(rng.integers(4, 8)), rng.uniform(0.45, 0.75))
    elif kind == 4:
        outline = _blob(rng)
    else:
        outline = _ellipse(64)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (outline * [1.0, squeeze] * radius) @ turned.T + center
    image = Image.new("1", (size, size))
    draw = ImageDraw.Draw(image)
    draw.polygon([tuple(p) for p in points], fill=1)
    if kind == 5:  # a ring
        hole = (points - center) * rng.uniform(0.35, 0.65) + center
        draw.polygon([tuple(p) for p in hole], fill=0)
    return np.asarray(image, bool)


def _ellipse(count: int) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _rounded_rectangle(rounding: float) -> NDArray[np.float64]:
    corners = np.array([[1.0, 1.0], [-1, 1], [-1, -1], [1, -1]]) * (1 - rounding) * 0.8
    arcs = []
    for index, corner in enumerate(corners):
        angles = np.linspace(0, np.pi / 2, 9) + index * np.pi / 2
        arcs.append(corner + 0.8 * rounding * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    return np.concatenate(arcs)


def _polygon(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    angles = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * (2 * np.pi / count)
    radii = rng.uniform(0.7, 1.0, count)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star(spikes: int, inner: float) -> NDArray[np.float64]:
    outline = _ellipse(2 * spikes)
    outline[1::2] *= inner
    return outline


def _blob(rng: np.random.Generator) -> NDArray[np.float64]:
    outline = _ellipse(96)
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radii = np.ones(96)
    for wave in range(2, 6):
        radii += rng.uniform(-0.35, 0.35) / wave * np.cos(wave * angles + rng.uniform(0, 6.28))
    return outline * (radii / radii.max())[:, None]
