"""Pictures of results: a mask over its image, with its outline and the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]

MASK_COLOUR: Final[Colour] = (30, 144, 255)
FOREGROUND_COLOUR: Final[Colour] = (46, 204, 64)
BACKGROUND_COLOUR: Final[Colour] = (255, 65, 54)
BOX_COLOUR: Final[Colour] = (255, 220, 0)
OPACITY: Final = 0.5


def draw_overlay(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    points: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    box: ArrayLike | None = None,
    colour: Colour = MASK_COLOUR,
) -> Image.Image:
    """Draw a mask and the prompts that led to it.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) bool.
        points: (N, 2), (x, y) in pixels.
        labels: (N,), 1 or 0; all 1 if not given.
        box: (4,), x0, y0, x1, y1 in pixels.
        colour: of the mask.

    Returns:
        The picture, (H, W), RGB.
    """
    unit = max(image.shape[:2]) / 400  # line widths follow the size of the picture
    blend = image.astype(np.float32)
    blend[mask] += OPACITY * (np.array(colour, np.float32) - blend[mask])
    picture = Image.fromarray(blend.astype(np.uint8))
    picture.paste(colour, mask=_outline(mask, max(1, round(unit))))
    draw = ImageDraw.Draw(picture)
    if box is not None:
        x0, y0, x1, y1 = np.asarray(box, float).tolist()
        draw.rectangle((x0, y0, x1, y1), outline=BOX_COLOUR, width=max(1, round(unit)))
    if points is not None:
        given = np.asarray(points, float).reshape(-1, 2)
        kinds = np.ones(len(given)) if labels is None else np.asarray(labels)
        for (x, y), kind in zip(given.tolist(), kinds.tolist(), strict=True):
            fill = FOREGROUND_COLOUR if kind else BACKGROUND_COLOUR
            draw.circle((x, y), 3.5 * unit, fill=fill, outline="white", width=max(1, round(unit)))
    return picture


def side_by_side(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Put pictures of equal size beside each other, each with a caption below.

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


def _outline(mask: NDArray[np.bool_], width: int) -> Image.Image:
    """The pixels just inside a mask's edge."""
    inside = Image.fromarray(mask.astype(np.uint8) * 255)
    eroded = inside.filter(ImageFilter.MinFilter(2 * width + 1))
    edge = np.asarray(inside) & ~np.asarray(eroded)
    return Image.fromarray(edge)
