"""Pictures of results: masks over their image, with outlines and the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from slimsam_client.colours import Colour, distinct_colours
from slimsam_client.encodings import rle_box
from slimsam_client.errors import MaskError
from slimsam_client.everything import MaskRecord

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

    Raises:
        MaskError: the mask is not of the image's size.
    """
    _check_size(image, mask.shape)
    unit = max(image.shape[:2]) / 400  # line widths follow the size of the picture
    blend = image.astype(np.float32)
    blend[mask] += OPACITY * (np.array(colour, np.float32) - blend[mask])
    blend[_outline(mask, max(1, round(unit)))] = colour
    picture = Image.fromarray(blend.astype(np.uint8))
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


def draw_records(image: NDArray[np.uint8], records: Sequence[MaskRecord]) -> Image.Image:
    """Draw the masks of everything mode, each in a colour of its own, smaller ones on top.

    Args:
        image: (H, W, 3) uint8, RGB.
        records: of this image.

    Returns:
        The picture, (H, W), RGB.

    Raises:
        MaskError: a record is not of the image's size.
    """
    for record in records:
        _check_size(image, record.rle["size"])
    width = max(1, round(max(image.shape[:2]) / 500))
    paint = image.copy()
    opacity = np.zeros(image.shape[:2], np.uint8)
    largest_first = sorted(records, key=lambda record: -record.area)
    for record, colour in zip(largest_first, distinct_colours(len(records)), strict=True):
        window = _window(record, width)
        mask = record.segmentation[window]
        paint[window][mask] = colour
        opacity[window][mask] = round(255 * OPACITY)
        opacity[window][_outline(mask, width)] = 255
    return Image.composite(Image.fromarray(paint), Image.fromarray(image), Image.fromarray(opacity))


def _check_size(image: NDArray[np.uint8], size: Sequence[int]) -> None:
    if tuple(size) != image.shape[:2]:
        raise MaskError(
            f"expected a mask of the image's (height, width) {image.shape[:2]}, got {tuple(size)}; "
            "it is of another image"
        )


def _window(record: MaskRecord, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the part of the image that holds a mask."""
    x0, y0, x1, y1 = rle_box(record.rle) or (0, 0, 0, 0)
    return (
        slice(max(y0 - margin, 0), y1 + margin),
        slice(max(x0 - margin, 0), x1 + margin),
    )


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels just inside a mask's edge; the image's own edge is none."""
    inner = mask
    for _ in range(width):
        across = np.pad(inner, ((0, 0), (1, 1)), mode="edge")
        inner = inner & across[:, :-2] & across[:, 2:]
        down = np.pad(inner, ((1, 1), (0, 0)), mode="edge")
        inner = inner & down[:-2] & down[2:]
    return mask & ~inner
