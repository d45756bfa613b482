"""Outlines have few corners and fill what the mask has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from slimsam_client.encodings import from_polygons, to_geojson, to_polygons
from slimsam_gateway.x_anylabeling.outlines import Ring, outlines

Mask = NDArray[np.bool_]
SIZE = (600, 800)


def of(mask: Mask, epsilon_factor: float) -> list[Ring]:
    coordinates: Any = to_geojson(to_polygons(mask))["coordinates"]
    return outlines(coordinates, epsilon_factor)


def iou(mask: Mask, rings: list[Ring]) -> float:
    filled = from_polygons([[ring] for ring in rings], mask.shape)
    return float((mask & filled).sum() / (mask | filled).sum())


def ellipse(a: float, b: float, tilt: float = 0.5) -> Mask:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    x, y = x - 400.3, y - 300.6
    along, across = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    inside: Mask = (along / a) ** 2 + (across / b) ** 2 < 1
    return inside


def clouds(seed: int, smoothness: float) -> Mask:
    """Parts, holes and specks of any form."""
    noise = np.random.default_rng(seed).normal(size=SIZE)
    soft: Mask = gaussian_filter(noise, smoothness) > 0
    return soft


MASKS = {
    "a disc": ellipse(100, 100),
    "a large disc": ellipse(290, 290),
    "a long ellipse": ellipse(300, 12),
    "a ring": ellipse(200, 150) & ~ellipse(120, 90),
    "a small disc": ellipse(12, 12),
    "an ellipse": ellipse(60, 20),
    "clouds": clouds(1, 25),
    "smaller clouds": clouds(2, 12),
    "a disc in a ring": ellipse(200, 150) & ~ellipse(120, 90) | ellipse(60, 60),
}


@pytest.mark.parametrize("name", MASKS)
def test_the_usual_fineness_keeps_the_mask(name: str) -> None:
    mask = MASKS[name]
    rings, exact = of(mask, 0.001), of(mask, 0)
    assert iou(mask, rings) >= 0.99
    assert 4 * sum(map(len, rings)) < 3 * sum(map(len, exact))


@pytest.mark.parametrize("mask", [*MASKS.values(), clouds(3, 1.5)[:120, :160]])
def test_none_at_all_is_exact(mask: Mask) -> None:
    assert iou(mask, of(mask, 0)) == 1


def test_a_coarser_one_has_fewer_corners() -> None:
    mask = MASKS["clouds"]
    counts = [sum(map(len, of(mask, factor))) for factor in (0.0005, 0.001, 0.005, 0.02, 1)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 4 * counts[-2]
    assert all(len(ring) >= 3 for ring in of(mask, 1))


def test_specks_are_left_out() -> None:
    mask = MASKS["a disc"].copy()
    mask[5, 5] = mask[300, 401] = True
    mask[300, 400] = False
    (ring,) = of(mask, 0.001)
    assert len(ring) < 70
    assert len(of(mask, 0)) == 2


def test_small_and_thin_things_stay() -> None:
    for height, width in ((1, 1), (1, 700), (2, 3), (500, 2)):
        mask = np.zeros(SIZE, np.bool_)
        mask[50 : 50 + height, 30 : 30 + width] = True
        rings = of(mask, 0.001)
        assert len(rings) == 1 and iou(mask, rings) >= 0.99
    assert of(np.zeros(SIZE, np.bool_), 0.001) == []


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("epsilon_factor", [0, 0.001])
def test_no_other_corner_is_the_first(name: str, epsilon_factor: float) -> None:
    """X-AnyLabeling takes it for the end of the outline, and leaves it out."""
    for ring in of(MASKS[name], epsilon_factor):
        assert (ring == ring[0]).all(axis=1).sum() == 1


def test_a_hole_that_is_nearest_to_the_first_corner() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[2:18, 2:18] = True
    mask[3, 3] = False
    [ring] = of(mask, 0)
    assert (ring == ring[0]).all(axis=1).sum() == 1
    assert iou(mask, [ring]) == 1
