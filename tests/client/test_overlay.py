"""Pictures of results: what is drawn where, and in which colours."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from slimsam_client import ImageError, MaskError, MaskRecord
from slimsam_client.colours import distinct_colours
from slimsam_client.contact_sheet import (
    CAPTION_HEIGHT,
    CELL,
    GAP,
    contact_sheet,
    side_by_side,
)
from slimsam_client.encodings import to_rle
from slimsam_client.overlay import (
    BACKGROUND_COLOUR,
    BOX_COLOUR,
    FOREGROUND_COLOUR,
    MASK_COLOUR,
    draw_overlay,
    draw_records,
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


def record(mask: NDArray[np.bool_]) -> MaskRecord:
    return MaskRecord(
        to_rle(mask), int(mask.sum()), (0.0, 0.0, 1.0, 1.0), 0.9, 0.9, (0.0, 0.0),
        (0.0, 0.0, 400.0, 200.0),
    )  # fmt: skip


def test_each_record_has_a_colour_and_small_ones_are_on_top() -> None:
    before = IMAGE.copy()
    small, edge = np.zeros_like(MASK), np.zeros_like(MASK)
    small[90:110, 150:250] = True
    edge[:30, 350:] = True  # at the image's own edge
    records = [record(small), record(MASK), record(edge), record(np.zeros_like(MASK))]
    picture = np.asarray(draw_records(IMAGE, records))
    assert np.array_equal(IMAGE, before)
    large_colour, small_colour, edge_colour, _ = distinct_colours(4)
    assert small.sum() > edge.sum()
    for (y, x), colour in {(50, 200): large_colour, (90, 200): small_colour,
                           (29, 380): edge_colour}.items():  # fmt: skip
        assert tuple(picture[y, x]) == colour  # outlines
    for (y, x), colour in {(70, 200): large_colour, (100, 200): small_colour,
                           (0, 399): edge_colour}.items():  # fmt: skip
        assert np.abs(picture[y, x] - (100 + np.array(colour)) / 2).max() <= 1  # insides
    assert np.array_equal(picture[~(MASK | edge)], IMAGE[~(MASK | edge)])
    assert np.array_equal(picture, np.asarray(draw_records(IMAGE, records[::-1])))
    assert np.array_equal(draw_records(IMAGE, []), IMAGE)


def test_masks_of_another_image_are_refused() -> None:
    message = r"\(200, 399\), got \(200, 400\)"
    with pytest.raises(MaskError, match=message):
        draw_overlay(IMAGE[:, :-1], MASK)
    with pytest.raises(MaskError, match=message):
        draw_records(IMAGE[:, :-1], [record(MASK)])


def test_colours_are_distinct() -> None:
    colours = distinct_colours(64)
    assert colours[:10] == distinct_colours(10)
    apart = np.abs(np.array(colours)[:, None] - np.array(colours)[None]).sum(-1)
    assert (apart + 999 * np.eye(64) > 30).all()
    assert all(apart[index, index + 1] > 150 for index in range(63))


def test_a_row_holds_every_picture() -> None:
    pictures = [draw_overlay(IMAGE, MASK), draw_overlay(IMAGE, ~MASK)]
    sheet = np.asarray(side_by_side(pictures, ["one", "two"]))
    assert np.array_equal(sheet[:200, :400], pictures[0])
    assert np.array_equal(sheet[:200, -400:], pictures[1])
    assert (sheet[200:] < 128).any()  # captions


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 3, 2), (50, 6, 9)])
def test_a_contact_sheet_scales_pictures_into_cells(count: int, columns: int, rows: int) -> None:
    sizes = [(640, 480), (100, 1000), (1000, 100), (32, 24)]
    pictures = [Image.new("RGB", sizes[index % 4], (200, 0, 0)) for index in range(count)]
    names = [f"{'long/' * 30}{index}.png" for index in range(count)]
    sheet = np.asarray(contact_sheet(iter(pictures), names))
    across, down = CELL[0] + GAP, CELL[1] + CAPTION_HEIGHT + GAP
    assert sheet.shape == (rows * down + GAP, columns * across + GAP, 3)
    for index in range(columns * rows):
        top, left = GAP + index // columns * down, GAP + index % columns * across
        cell = sheet[top : top + CELL[1], left : left + CELL[0]]
        caption = sheet[top + CELL[1] : top + CELL[1] + CAPTION_HEIGHT, left : left + CELL[0]]
        red = (cell == (200, 0, 0)).all(-1).sum()
        width, height = sizes[index % 4]
        scale = min(CELL[0] / width, CELL[1] / height, 1)
        assert red == (round(width * scale) * round(height * scale) if index < count else 0)
        assert (caption < 128).any() == (index < count)
    gaps = sheet[:, GAP - 4 : GAP]
    assert (gaps == 255).all()  # no caption leaves its cell


def test_a_contact_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="at least one picture"):
        contact_sheet([], [])
