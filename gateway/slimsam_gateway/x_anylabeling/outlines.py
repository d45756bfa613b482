"""Outlines that a person can move by hand: few corners, close to the mask, no holes.

A polygon of the server follows the edges of pixels, and X-AnyLabeling's has one ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""(N, 2), x and y in pixels, a corner per point, the first not repeated at the end."""

SPECKS: Final = 0.005
"""The smallest parts and holes are left out up to this share of the mask's area."""
LONGEST: Final = 8.0
"""A ring's length counts up to so many times its thickness, so that of a thin thing some is left:
a square has this many."""

STAIRS: Final = 0.5
"""The edges of pixels are so far from the line that they stand for; corners there say nothing."""
LONGEST_OF_STAIRS: Final = 20.0
"""As `LONGEST`, up to this distance."""


def outlines(coordinates: Sequence[Sequence[Any]], epsilon_factor: float) -> list[Ring]:
    """Give an outline for each part of a mask.

    Args:
        coordinates: of a MultiPolygon in pixels, as `slimsam_client.encodings.to_geojson` has it.
        epsilon_factor: the distance that an outline may have from the edges of pixels, by its
            length; 0 keeps each corner and each speck.

    Returns:
        Rings that fill, by the even-odd rule, what the polygons do. A ring goes into each hole and
        back by the same way. It is at its first corner once.
    """
    polygons = [[np.array(ring[:-1], np.float64) for ring in rings] for rings in coordinates]
    if epsilon_factor:
        polygons = [
            [_simplified(ring, epsilon_factor) for ring in polygon]
            for polygon in _without_specks(polygons)
        ]
    return [_begun_once(_bridged(polygon)) for polygon in polygons]


def _without_specks(polygons: list[list[Ring]]) -> list[list[Ring]]:
    areas = [[abs(_area(ring)) for ring in polygon] for polygon in polygons]
    total = sum(2 * rings[0] - sum(rings) for rings in areas)
    order = sorted(
        (area, part, ring) for part, rings in enumerate(areas) for ring, area in enumerate(rings)
    )
    left_out: set[tuple[int, int]] = set()
    budget = SPECKS * total
    for area, part, ring in order:
        budget -= area
        if budget < 0:
            break
        left_out.add((part, ring))
    return [
        [ring for number, ring in enumerate(polygon) if (part, number) not in left_out]
        for part, polygon in enumerate(polygons)
        if (part, 0) not in left_out
    ]


def _simplified(ring: Ring, epsilon_factor: float) -> Ring:
    """Leave corners out that are near the line between others (Douglas and Peucker)."""
    path = _midpoints(ring)
    length = float(np.linalg.norm(path - np.roll(path, -1, axis=0), axis=1).sum())
    thickness = 2 * abs(_area(ring)) / length
    tolerance = epsilon_factor * min(length, LONGEST * thickness)
    tolerance = max(tolerance, min(STAIRS, epsilon_factor * LONGEST_OF_STAIRS * thickness))
    # The ring is cut at three corners that certainly stay, far from each other.
    far = int(np.argmax(((path - path[0]) ** 2).sum(axis=1)))
    third = int(np.argmax(_distances(path, path[0], path[far])))
    cuts = sorted((0, far, third, len(path)))
    closed = np.concatenate([path, path[:1]])
    kept = np.zeros(len(closed), np.bool_)
    kept[cuts] = True
    spans = list(zip(cuts[:-1], cuts[1:], strict=True))
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        distances = _distances(closed[start + 1 : end], closed[start], closed[end])
        furthest = int(np.argmax(distances))
        if distances[furthest] > tolerance:
            middle = start + 1 + furthest
            kept[middle] = True
            spans += [(start, middle), (middle, end)]
    simple: Ring = path[kept[:-1]]
    return simple


def _midpoints(ring: Ring) -> Ring:
    """Give the middle of each pixel's edge: on these, stairs are slopes, of the same area."""
    steps = np.roll(ring, -1, axis=0) - ring
    counts = np.abs(steps).sum(axis=1).astype(np.int64)
    edge = np.repeat(np.arange(len(ring)), counts)
    along = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5
    middles: Ring = ring[edge] + steps[edge] * (along / counts[edge])[:, None]
    return middles


def _distances(points: Ring, start: Ring, end: Ring) -> NDArray[np.float64]:
    """Distances of points (N, 2) from the segment between two."""
    line = end - start
    squared = float(line @ line)
    share = np.clip((points - start) @ line / squared, 0, 1) if squared else np.zeros(len(points))
    distances: NDArray[np.float64] = np.hypot(*(points - start - share[:, None] * line).T)
    return distances


def _bridged(polygon: list[Ring]) -> Ring:
    """Join holes to their outer ring, each from its leftmost corner to the nearest one.

    The way is gone there and back, so whatever it crosses, the filled pixels are the same.
    """
    outer, *holes = polygon
    for hole in sorted(holes, key=lambda ring: float(ring[:, 0].min())):
        inner = np.roll(hole, -int(np.argmin(hole[:, 0])), axis=0)
        nearest = int(np.argmin(((outer - inner[0]) ** 2).sum(axis=1)))
        outer = np.concatenate([outer[: nearest + 1], inner, inner[:1], outer[nearest:]])
    return outer


def _begun_once(ring: Ring) -> Ring:
    """Begin at a corner where the ring is once: X-AnyLabeling leaves out what equals the first."""
    _, places, counts = np.unique(ring, axis=0, return_index=True, return_counts=True)
    return np.roll(ring, -int(places[counts == 1].min(initial=len(ring))), axis=0)


def _area(ring: Ring) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
