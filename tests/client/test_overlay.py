"""Pictures of results: what is drawn where, and in which colors."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from slimsam_client import (
    ImageError,
    MaskError,
    MaskRecord,
    PromptError,
    SettingsError,
    SlimSamError,
)
from slimsam_client.drawing.colors import distinct_colors
from slimsam_client.drawing.contact_sheet import (
    CAPTION_HEIGHT,
    CELL,
    GAP,
    contact_sheet,
    side_by_side,
)
from slimsam_client.drawing.overlay import (
    BACKGROUND_COLOR,
    BOX_COLOR,
    FOREGROUND_COLOR,
    MASK_COLOR,
    draw_overlay,
    draw_records,
)
from slimsam_client.encodings import to_rle

IMAGE = np.full((200, 400, 3), 100, np.uint8)
MASK = np.zeros((200, 400), bool)
MASK[50:150, 100:300] = True


def test_a_mask_is_tinted_and_outlined() -> None:
    before = IMAGE.copy()
    picture = np.asarray(draw_overlay(IMAGE, MASK))
    assert np.array_equal(IMAGE, before)
    assert picture.shape == IMAGE.shape
    assert tuple(picture[50, 200]) == MASK_COLOR
    inside = (0.5 * 100 + 0.5 * np.array(MASK_COLOR)).astype(np.uint8)
    assert np.array_equal(picture[100, 200], inside)
    assert np.array_equal(picture[~MASK], IMAGE[~MASK])


def test_prompts_are_drawn() -> None:
    picture = np.asarray(
        draw_overlay(IMAGE, MASK, [(200, 100), (20, 20)], [1, 0], (90, 40, 310, 160))
    )
    assert tuple(picture[100, 200]) == FOREGROUND_COLOR
    assert tuple(picture[20, 20]) == BACKGROUND_COLOR
    assert tuple(picture[40, 150]) == BOX_COLOR


def record(mask: NDArray[np.bool_]) -> MaskRecord:
    return MaskRecord(
        to_rle(mask), int(mask.sum()), (0.0, 0.0, 1.0, 1.0), 0.9, 0.9, (0.0, 0.0),
        (0.0, 0.0, 400.0, 200.0),
    )  # fmt: skip


def test_each_record_has_a_color_and_small_ones_are_on_top() -> None:
    before = IMAGE.copy()
    small, edge = np.zeros_like(MASK), np.zeros_like(MASK)
    small[90:110, 150:250] = True
    edge[:30, 350:] = True  # at the image's own edge
    records = [record(small), record(MASK), record(edge), record(np.zeros_like(MASK))]
    picture = np.asarray(draw_records(IMAGE, records))
    assert np.array_equal(IMAGE, before)
    large_color, small_color, edge_color, _ = distinct_colors(4)
    assert small.sum() > edge.sum()
    for (y, x), color in {(50, 200): large_color, (90, 200): small_color,
                           (29, 380): edge_color}.items():  # fmt: skip
        assert tuple(picture[y, x]) == color  # outlines
    for (y, x), color in {(70, 200): large_color, (100, 200): small_color,
                           (0, 399): edge_color}.items():  # fmt: skip
        assert np.abs(picture[y, x] - (100 + np.array(color)) / 2).max() <= 1  # insides
    assert np.array_equal(picture[~(MASK | edge)], IMAGE[~(MASK | edge)])
    assert np.array_equal(picture, np.asarray(draw_records(IMAGE, records[::-1])))
    assert np.array_equal(draw_records(IMAGE, []), IMAGE)


def test_masks_of_another_image_are_refused() -> None:
    message = r"\(200, 399\), got \(200, 400\)"
    with pytest.raises(MaskError, match=message):
        draw_overlay(IMAGE[:, :-1], MASK)
    with pytest.raises(MaskError, match=message):
        draw_records(IMAGE[:, :-1], [record(MASK)])


def test_prompts_of_many_objects_are_drawn() -> None:
    picture = np.asarray(
        draw_overlay(
            Image.fromarray(IMAGE),
            MASK,
            points=[[(200, 100)], [(20, 20), (60, 60)], []],
            labels=[[1], [0, 0], []],
            box=np.array([(90, 40, 310, 160), (5, 5, 70, 70), (320, 20, 400.5, 190)], np.float32),
        )
    )
    assert tuple(picture[100, 200]) == FOREGROUND_COLOR
    assert tuple(picture[20, 20]) == tuple(picture[60, 60]) == BACKGROUND_COLOR
    for y, x in ((40, 150), (5, 30), (20, 350)):
        assert tuple(picture[y, x]) == BOX_COLOR
    nothing = draw_overlay(IMAGE, MASK, points=[], labels=[], box=np.zeros((0, 4)))
    assert nothing == draw_overlay(IMAGE, MASK)


def test_images_are_those_of_load_image(tmp_path: Path) -> None:
    gray = IMAGE[..., 0]
    path = tmp_path / "image.png"
    Image.fromarray(gray).save(path)
    records = [record(MASK)]
    overlay, drawn = draw_overlay(IMAGE, MASK), draw_records(IMAGE, records)
    sheet, row = contact_sheet([IMAGE], ["one"]), side_by_side([IMAGE], ["one"])
    rgba = np.dstack([IMAGE, np.full_like(gray, 9)])
    for image in (path, str(path), path.read_bytes(), Image.open(path), gray, rgba):
        assert draw_overlay(image, MASK) == overlay
        assert draw_records(image, iter(records)) == drawn
        assert contact_sheet(iter([image]), ["one"]) == sheet
        assert side_by_side([image], ["one"]) == row


@pytest.mark.parametrize(
    "color", [[1, 2, 3], np.array([1, 2, 3], np.uint8), (Decimal(1), np.float32(2), Fraction(3))]
)
def test_colors_may_be_numbers_of_any_type(color: Any) -> None:
    assert draw_overlay(IMAGE, MASK, color=color) == draw_overlay(IMAGE, MASK, color=(1, 2, 3))


POINT = [(5, 5)]
WRONG: dict[str, tuple[Callable[[], object], type[SlimSamError], str]] = {
    "a mask of numbers": (
        lambda: draw_overlay(IMAGE, MASK.astype(np.uint8)),
        MaskError,
        "expected a bool array .* got uint8; .* mask > 0",
    ),
    "logits": (lambda: draw_overlay(IMAGE, MASK * 1.0), MaskError, "got float64"),
    "three masks": (lambda: draw_overlay(IMAGE, np.stack([MASK] * 3)), MaskError, r"\(3, 200, 400"),
    "a list for a mask": (lambda: draw_overlay(IMAGE, MASK.tolist()), MaskError, "got list"),
    "an image of floats": (lambda: draw_overlay(IMAGE / 255, MASK), ImageError, "float64"),
    "no image": (lambda: draw_overlay(None, MASK), ImageError, "NoneType"),
    "a missing file": (lambda: draw_overlay("gone.png", MASK), ImageError, "gone.png"),
    "more labels than points": (
        lambda: draw_overlay(IMAGE, MASK, points=POINT, labels=[1, 0]),
        PromptError,
        r"one per point, shape \(1,\), got \(2,\)",
    ),
    "labels alone": (lambda: draw_overlay(IMAGE, MASK, labels=[1]), PromptError, "labels alone"),
    "a label of its own": (
        lambda: draw_overlay(IMAGE, MASK, points=POINT, labels=[2]),
        PromptError,
        "label 0: .* got 2",
    ),
    "a flat point": (lambda: draw_overlay(IMAGE, MASK, points=(5, 5)), PromptError, r"got \(2,\)"),
    "a point elsewhere": (
        lambda: draw_overlay(IMAGE, MASK, points=[(5, 1e30)]),
        PromptError,
        r"point 0: .* got \(5, 1e\+30\)",
    ),
    "a box of three": (lambda: draw_overlay(IMAGE, MASK, box=(1, 2, 3)), PromptError, r"\(3,\)"),
    "a box upside down": (
        lambda: draw_overlay(IMAGE, MASK, box=(9, 9, 1, 1)),
        PromptError,
        "x0 < x1",
    ),
    "a NaN box": (lambda: draw_overlay(IMAGE, MASK, box=(0, 0, 9, np.nan)), PromptError, "finite"),
    "a color's name": (
        lambda: draw_overlay(IMAGE, MASK, color="red"),
        SettingsError,
        r"color: expected \(red, green, blue\).* got 'red'",
    ),
    "a color of four": (
        lambda: draw_overlay(IMAGE, MASK, color=(1, 2, 3, 4)),
        SettingsError,
        "color: ",
    ),
    "a bright color": (
        lambda: draw_overlay(IMAGE, MASK, color=(1, 2, 256)),
        SettingsError,
        "color: ",
    ),
    "a color of NaN": (
        lambda: draw_overlay(IMAGE, MASK, color=(1, 2, np.nan)),
        SettingsError,
        "color: ",
    ),
    "no color": (lambda: draw_overlay(IMAGE, MASK, color=7), SettingsError, "got 7"),
    "masks for records": (lambda: draw_records(IMAGE, [MASK]), MaskError, "got ndarray"),
    "one record": (lambda: draw_records(IMAGE, record(MASK)), MaskError, "got MaskRecord"),
    "no list of records": (lambda: draw_records(IMAGE, None), MaskError, "got NoneType"),
    "records of floats": (lambda: draw_records(IMAGE / 255, []), ImageError, "float64"),
    "too few captions": (
        lambda: contact_sheet([IMAGE] * 3, ["one", "two"]),
        ImageError,
        "contact sheet: expected 2 pictures, as many as captions, got more",
    ),
    "too many captions": (
        lambda: contact_sheet(iter([IMAGE]), ["one", "two"]),
        ImageError,
        "expected 2 pictures, as many as captions, got 1",
    ),
    "a text for captions": (lambda: contact_sheet([IMAGE], "one"), ImageError, "captions, got str"),
    "one picture": (
        lambda: contact_sheet(Image.fromarray(IMAGE), ["one"]),
        ImageError,
        "expected a list of pictures, got Image",
    ),
    "no picture": (lambda: contact_sheet([None], ["one"]), ImageError, "NoneType"),
    "an empty row": (lambda: side_by_side([], []), ImageError, "at least one picture"),
    "too few captions in a row": (
        lambda: side_by_side([IMAGE] * 2, ["one"]),
        ImageError,
        "expected 1 pictures",
    ),
    "sizes in a row": (
        lambda: side_by_side([IMAGE, IMAGE[1:]], ["one", "two"]),
        ImageError,
        "expected all of 400 x 200, got 400 x 199",
    ),
    "half a color": (lambda: distinct_colors(0.5), SettingsError, "count: .* got 0.5"),
    "less than no colors": (lambda: distinct_colors(-1), SettingsError, "got -1"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_mistakes_are_typed(name: str) -> None:
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()


def test_captions_of_any_text_are_one_line() -> None:
    names = ["two\nlines", "tab\tand \x1b[31m", b"n\xe4me".decode("utf-8", "surrogateescape"), 7]
    assert contact_sheet([IMAGE] * 4, names).size == contact_sheet([IMAGE] * 4, ["one"] * 4).size
    assert side_by_side([IMAGE] * 4, names).size == side_by_side([IMAGE] * 4, ["one"] * 4).size


def test_colors_are_distinct() -> None:
    colors = distinct_colors(64)
    assert colors[:10] == distinct_colors(10)
    apart = np.abs(np.array(colors)[:, None] - np.array(colors)[None]).sum(-1)
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
