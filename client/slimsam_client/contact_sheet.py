"""Several pictures on one sheet, each with a caption below."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from slimsam_client.errors import ImageError

CELL: Final = (320, 240)
"""Width and height that a picture of a contact sheet is fitted into, in pixels."""
CAPTION_HEIGHT: Final = 26
GAP: Final = 12
MAX_COLUMNS: Final = 6
CELL_COLOUR: Final = (238, 238, 238)
"""Tells a picture's white from the sheet's."""


def contact_sheet(pictures: Iterable[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Put pictures of any size onto one sheet, row by row, scaled down to cells of one size.

    Args:
        pictures: at least one; each is looked at once, in order, so they may be made on the way.
        captions: one for each; cut off where they are too long.

    Returns:
        The sheet, RGB, at most 6 pictures wide.

    Raises:
        ImageError: there is no picture.
    """
    if not captions:
        raise ImageError("contact sheet: expected at least one picture, got none")
    columns = min(math.ceil(math.sqrt(len(captions))), MAX_COLUMNS)
    rows = math.ceil(len(captions) / columns)
    across, down = CELL[0] + GAP, CELL[1] + CAPTION_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(CAPTION_HEIGHT * 0.6)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = GAP + index % columns * across, GAP + index // columns * down
        small = picture.convert("RGB")
        small.thumbnail(CELL)
        draw.rectangle((left, top, left + CELL[0] - 1, top + CELL[1] - 1), CELL_COLOUR)
        sheet.paste(
            small, (left + (CELL[0] - small.width) // 2, top + (CELL[1] - small.height) // 2)
        )
        middle = (left + CELL[0] / 2, top + CELL[1] + CAPTION_HEIGHT / 2)
        draw.text(middle, _fitting(caption, font), "black", font, anchor="mm")
    return sheet


def side_by_side(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Put pictures of equal size beside each other, unscaled.

    Args:
        pictures: at least one.
        captions: one for each.
    """
    width, height = pictures[0].size
    gap = max(width // 100, 4)
    line = max(height // 16, 14)
    font = ImageFont.load_default(line * 0.7)
    sheet = Image.new("RGB", (len(pictures) * (width + gap) - gap, height + line), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = index * (width + gap)
        sheet.paste(picture, (left, 0))
        draw.text((left + width / 2, height + line / 2), caption, "black", font, anchor="mm")
    return sheet


def _fitting(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The caption, or its end: names of files differ there."""
    if font.getlength(caption) <= CELL[0]:
        return caption
    start = next(i for i in range(len(caption)) if font.getlength("…" + caption[i:]) <= CELL[0])
    return "…" + caption[start:]
