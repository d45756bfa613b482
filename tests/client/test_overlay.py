"""Overlays: what is drawn where."""

from __future__ import annotations

import numpy as np

from slimsam_client.overlay import (
    BACKGROUND_COLOUR,
    BOX_COLOUR,
    FOREGROUND_COLOUR,
    MASK_COLOUR,
    draw_overlay,
    side_by_side,
)

IMAGE = np.full((200, 400, 3), 100, np.uint8)
MASK = np.zeros((200, 400), bool)
MASK[50:150, 100:300] = True


def test_a_mask_is_tinted_and_outlined() -> None:
    before = IMAGE.copy()
    picture = np.asarray(draw_overlay(IMAGE, MASK))
    assert np.array_equal(IMAGE, before)
    assert picture.shape == IMAGE.shape
    assert tuple(picture[50, 200]) == MASK_COLOUR
    inside = (0.5 * 100 + 0.5 * np.array(MASK_COLOUR)).astype(np.uint8)
    assert np.array_equal(picture[100, 200], inside)
    assert np.array_equal(picture[~MASK], IMAGE[~MASK])


def test_prompts_are_drawn() -> None:
    picture = np.asarray(
        draw_overlay(IMAGE, MASK, [(200, 100), (20, 20)], [1, 0], (90, 40, 310, 160))
    )
    assert tuple(picture[100, 200]) == FOREGROUND_COLOUR
    assert tuple(picture[20, 20]) == BACKGROUND_COLOUR
    assert tuple(picture[40, 150]) == BOX_COLOUR


def test_a_sheet_holds_every_picture() -> None:
    pictures = [draw_overlay(IMAGE, MASK), draw_overlay(IMAGE, ~MASK)]
    sheet = np.asarray(side_by_side(pictures, ["one", "two"]))
    assert np.array_equal(sheet[:200, :400], pictures[0])
    assert np.array_equal(sheet[:200, -400:], pictures[1])
    assert (sheet[200:] < 128).any()  # captions
