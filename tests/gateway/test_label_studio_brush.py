"""Brush masks of Label Studio beside a straightforward writer and reader of its streams."""

from __future__ import annotations

import brush_stream
import numpy as np
import pytest
from numpy.typing import NDArray

from slimsam_client import MaskError
from slimsam_gateway.label_studio.brush import to_brush


def striped(*runs: int) -> NDArray[np.bool_]:
    """One row, background first."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)[None]


def disc(size: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = np.ogrid[: size[0], : size[1]]
    found: NDArray[np.bool_] = (y - size[0] / 2) ** 2 + (x - size[1] / 3) ** 2 < size[0] ** 2 / 9
    return found


MASKS = {
    "a pixel": np.ones((1, 1), np.bool_),
    "nothing": np.zeros((3, 5), np.bool_),
    "all": np.ones((300, 200), np.bool_),
    "every size of a run, and its ends": striped(
        1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 32768, 40000, 1
    ),
    "inside first": ~striped(7, 9),
    "a chessboard": np.indices((9, 7)).sum(0) % 2 == 0,
    "noise": np.random.default_rng(1).random((57, 43)) < 0.5,
    "a disc": disc((240, 320)),
    "columns first in memory": np.asfortranarray(disc((24, 32))),
    "a part of another": disc((60, 60))[::2, 5:50],
}


@pytest.mark.parametrize("name", MASKS)
def test_streams_are_those_of_the_description(name: str) -> None:
    mask = MASKS[name]
    stream = to_brush(mask)
    assert stream == brush_stream.written(mask)
    assert all(type(byte) is int for byte in stream)
    np.testing.assert_array_equal(brush_stream.read(stream, mask.shape), mask)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "mask", [np.zeros((0, 4), np.bool_), np.zeros((2, 2)), np.zeros((1, 2, 2), np.bool_), None]
)
def test_what_is_no_mask(mask: object) -> None:
    with pytest.raises(MaskError, match="expected"):
        to_brush(mask)  # type: ignore[arg-type]
