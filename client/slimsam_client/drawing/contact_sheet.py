"""Several pictures on one sheet, each with a caption below."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from slimsam_client.errors import ImageError
from slimsam_client.image.load import ImageSource, load_image

CELL: Final = (320, 240)
"""A picture of a contact sheet is fitted into this width and height, in pixels."""
CAPTION_HEIGHT: Final = 26
GAP: Final = 12
MAX_COLUMNS: Final = 6
CELL_COLOR: Final = (238, 238, 238)
"""This color tells a picture's white from the sheet's."""


def contact_sheet(pictures: Iterable[ImageSource], captions: Sequence[str]) -> Image.Image:
    """Put pictures of any size onto one sheet, row by row, scaled down to cells of one size.

    Args:
        pictures: at least one, as `load_image` takes them; each is looked at once, in order, so
            they may be made on the way.
        captions: one for each; cut off where they are too long.

    Returns:
        The sheet, RGB, at most 6 pictures wide.

    Raises:
        ImageError: there is no picture, one cannot be read, or there are not as many captions.
    """
    count = _count(pictures, captions, "contact sheet")
    columns = min(math.ceil(math.sqrt(count)), MAX_COLUMNS)
    rows = math.ceil(count / columns)
    across, down = CELL[0] + GAP, CELL[1] + CAPTION_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(CAPTION_HEIGHT * 0.6)
    for index, (picture, caption) in enumerate(_pairs(pictures, captions, "contact sheet")):
        left, top = GAP + index % columns * across, GAP + index // columns * down
        small = Image.fromarray(load_image(picture))
        small.thumbnail(CELL)
        draw.rectangle((left, top, left + CELL[0] - 1, top + CELL[1] - 1), CELL_COLOR)
        sheet.paste(
            small, (left + (CELL[0] - small.width) // 2, top + (CELL[1] - small.height) // 2)
        )
        middle = (left + CELL[0] / 2, top + CELL[1] + CAPTION_HEIGHT / 2)
        draw.text(middle, _fitting(caption, font), "black", font, anchor="mm")
    return sheet


def side_by_side(pictures: Sequence[ImageSource], captions: Sequence[str]) -> Image.Image:
    """Put pictures of equal size beside each other, unscaled.

    Args:
        pictures: at least one, as `load_image` takes them.
        captions: one for each.

    Raises:
        ImageError: there is no picture, one cannot be read, they are of different sizes, or there
            are not as many captions.
    """
    count = _count(pictures, captions, "row of pictures")
    pairs = _pairs(pictures, captions, "row of pictures")
    loaded = [(Image.fromarray(load_image(picture)), caption) for picture, caption in pairs]
    width, height = loaded[0][0].size
    for picture, _ in loaded:
        if picture.size != (width, height):
            raise ImageError(
                f"row of pictures: expected all of {width} x {height}, "
                f"got {picture.width} x {picture.height}; contact_sheet takes any size"
            )
    gap = max(width // 100, 4)
    line = max(height // 16, 14)
    font = ImageFont.load_default(line * 0.7)
    sheet = Image.new("RGB", (count * (width + gap) - gap, height + line), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (picture, caption) in enumerate(loaded):
        left = index * (width + gap)
        sheet.paste(picture, (left, 0))
        draw.text((left + width / 2, height + line / 2), caption, "black", font, anchor="mm")
    return sheet


def _count(pictures: object, captions: Sequence[str], name: str) -> int:
    """How many captions there are, if these may be pictures and captions."""
    if isinstance(captions, str) or not isinstance(captions, Sequence):
        raise ImageError(f"{name}: expected a list of captions, got {type(captions).__name__}")
    if isinstance(pictures, str | bytes) or not isinstance(pictures, Iterable):
        raise ImageError(f"{name}: expected a list of pictures, got {type(pictures).__name__}")
    if not captions:
        raise ImageError(f"{name}: expected at least one picture and its caption, got no caption")
    return len(captions)


def _pairs(
    pictures: Iterable[ImageSource], captions: Sequence[str], name: str
) -> Iterator[tuple[ImageSource, str]]:
    """Each picture with its caption, on one line."""
    given = 0
    for given, picture in enumerate(pictures, 1):
        if given > len(captions):
            raise ImageError(
                f"{name}: expected {len(captions)} pictures, as many as captions, got more"
            )
        # Line breaks, control characters and bytes of names that are no text have no glyph.
        text = str(captions[given - 1])
        yield picture, "".join(c if c.isprintable() else " " for c in text)
    if given < len(captions):
        raise ImageError(
            f"{name}: expected {len(captions)} pictures, as many as captions, got {given}"
        )


def _fitting(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The caption, or its end: names of files differ there."""
    if font.getlength(caption) <= CELL[0]:
        return caption
    starts = range(len(caption))
    start = bisect_left(starts, True, key=lambda i: font.getlength("…" + caption[i:]) <= CELL[0])
    return "…" + caption[start:]
