"""Polygons with holes, along the edges of the pixels.

Corners are whole numbers: pixel (x, y) covers [x, x + 1) by [y, y + 1). So a polygon's area is the
mask's, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.encodings.boxes import to_box
from slimsam_client.encodings.mask import checked_size
from slimsam_client.errors import MaskError, MissingExtraError
from slimsam_client.quoting import quoted

Polygon = list[NDArray[np.int32]]
"""A polygon is the rings of one connected component: its outer one, then its holes. Each ring is
(N, 2), (x, y) in pixels, a corner per point, the first not repeated at the end."""

MAX_COORDINATE: Final = 2.0**53
"""A coordinate further away could not be told from the neighboring pixel's."""


def to_polygons(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Trace the edges of a mask.

    Pixels that only touch at a corner are separate parts, or separate holes, so no ring meets
    itself: the polygons are valid in the sense of OGC's Simple Features. The shoelace sum is
    positive for outer rings and negative for holes. While it works, it takes about 30 bytes per
    pixel of the mask's box.

    Args:
        mask: (H, W) bool.

    Returns:
        A polygon for each part; none for an empty mask.

    Raises:
        MaskError: the mask is no bool array (H, W).
        MissingExtraError: contourpy is not installed.
    """
    try:
        from contourpy import FillType, contour_generator
    except ImportError as error:
        raise MissingExtraError(
            "to_polygons: expected contourpy, found none; "
            "run `pip install slimsam-client[polygons]`"
        ) from error
    box = to_box(mask)
    if box is None:
        return []
    x0, y0, x1, y1 = box
    # A contour above the half keeps pixels apart that touch at a corner.
    contours: Any = contour_generator(
        z=np.pad(mask[y0:y1, x0:x1], 1).astype(np.float64),
        fill_type=FillType.ChunkCombinedOffsetOffset,
    ).filled(0.75, 2)
    points, offsets, outer_offsets = (part[0] for part in contours)
    corners, ends = _corners(points, offsets)
    corners += (x0, y0)
    rings = np.split(corners, ends[:-1])
    polygons = [
        rings[start:end] for start, end in zip(outer_offsets[:-1], outer_offsets[1:], strict=True)
    ]
    return [_without_pinches(polygon) for polygon in polygons]


def from_polygons(
    polygons: Iterable[Iterable[ArrayLike]], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Fill polygons: a pixel is inside if its center is, by the even-odd rule over all rings.

    Args:
        polygons: rings as `to_polygons` gives them, or as GeoJSON's coordinates have them; corners
            need not be whole numbers, and may lie outside the image.
        size: (height, width) of the mask.

    Returns:
        (H, W) bool.

    Raises:
        MaskError: a ring is no array (N, 2) of numbers with N at least 3, within 2**53.
    """
    height, width = checked_size(size)
    toggles = np.zeros((height, width + 1), np.bool_)
    try:
        rings = [_checked_ring(ring) for polygon in polygons for ring in polygon]
    except TypeError as error:
        raise MaskError(
            f"polygons: expected a list of lists of rings, got {quoted(str(error))}"
        ) from error
    if rings:
        rows, columns = _crossings(rings, height, width)
        np.logical_xor.at(toggles, (rows, columns), True)
    return np.logical_xor.accumulate(toggles, axis=1)[:, :-1]


def to_geojson(polygons: Sequence[Polygon]) -> dict[str, Any]:
    """Give polygons as a GeoJSON geometry, a MultiPolygon in pixels, y downwards."""
    return {
        "type": "MultiPolygon",
        "coordinates": [
            [[*ring.tolist(), ring[0].tolist()] for ring in polygon] for polygon in polygons
        ],
    }


def _corners(
    points: NDArray[np.float64], offsets: NDArray[np.uint32]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Turn contours into corners.

    A contour between pixels' centers crosses every edge of the mask once, from one pixel to the
    next. Where it goes from a vertical edge to a horizontal one, or back, there is a corner.

    Args:
        points: (K, 2), closed rings, one behind the other; a whole number in x is on a horizontal
            edge, one in y on a vertical edge.
        offsets: where each ring begins, and K.

    Returns:
        The corners (N, 2), and where each ring's end.
    """
    upright = points[:, 0] % 1 != 0
    turns = upright[:-1] != upright[1:]
    turns[offsets[1:-1] - 1] = False  # these lead from one ring's end to the next one's beginning
    at = np.flatnonzero(turns)
    vertical, horizontal = at + ~upright[at], at + upright[at]
    corners = np.floor(np.stack([points[vertical, 0], points[horizontal, 1]], axis=1))
    return corners.astype(np.int32), np.searchsorted(at, offsets[1:])


def _without_pinches(polygon: Polygon) -> Polygon:
    """Cut rings where they meet themselves, which makes holes of their inner loops."""
    loops = [loop for ring in polygon for loop in _loops(ring)]
    return sorted(loops, key=_doubled_area, reverse=True)


def _loops(ring: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Simple loops of a ring."""
    corners = [(x, y) for x, y in ring.tolist()]
    if len(set(corners)) == len(corners):
        return [ring]
    loops: list[NDArray[np.int32]] = []
    path: list[tuple[int, int]] = []
    position: dict[tuple[int, int], int] = {}
    for corner in corners:
        if corner in position:  # since then, the path has been a loop
            start = position[corner]
            loop = path[start:]
            del path[start:]
            for left in loop:
                del position[left]
            loops.append(np.array(loop, np.int32))
        position[corner] = len(path)
        path.append(corner)
    return [*loops, np.array(path, np.int32)]


def _doubled_area(ring: NDArray[np.int32]) -> int:
    x, y = ring.astype(np.int64).T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _checked_ring(ring: ArrayLike) -> NDArray[np.float64]:
    try:
        corners = np.asarray(ring, np.float64)
    except (TypeError, ValueError) as error:
        raise MaskError(
            f"polygon: expected a ring (N, 2) of numbers, got {quoted(str(error))}"
        ) from error
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise MaskError(f"polygon: expected a ring (N, 2), N at least 3, got shape {corners.shape}")
    if not (np.abs(corners) <= MAX_COORDINATE).all():
        raise MaskError("polygon: expected numbers within 2**53, got larger ones, NaN or infinity")
    return corners


def _crossings(
    rings: list[NDArray[np.float64]], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where edges pass rows of pixel centers: rows, and the first columns right of them."""
    x0, y0 = np.concatenate(rings).T
    x1, y1 = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings]).T
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    after = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
    counts = after - first
    edge = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    share = (rows + 0.5 - y0[edge]) / (y1 - y0)[edge]
    x = x0[edge] + share * (x1 - x0)[edge]
    return rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
