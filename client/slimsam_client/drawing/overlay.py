"""Pictures of results: masks over their image, with outlines and the prompts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from slimsam_client.contract import BACKGROUND, FOREGROUND
from slimsam_client.drawing.colors import Color, checked_color, distinct_colors
from slimsam_client.encodings import rle_box
from slimsam_client.encodings.mask import checked_mask
from slimsam_client.errors import MaskError
from slimsam_client.everything import MaskRecord
from slimsam_client.everything.record import checked_records
from slimsam_client.image.load import ImageSource, load_image
from slimsam_client.prompts.values import check_prompts

MASK_COLOR: Final[Color] = (30, 144, 255)
FOREGROUND_COLOR: Final[Color] = (46, 204, 64)
BACKGROUND_COLOR: Final[Color] = (255, 65, 54)
BOX_COLOR: Final[Color] = (255, 220, 0)
DOT_COLORS: Final = {FOREGROUND: FOREGROUND_COLOR, BACKGROUND: BACKGROUND_COLOR}
OPACITY: Final = 0.5


def draw_overlay(
    image: ImageSource,
    mask: NDArray[np.bool_],
    points: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    box: ArrayLike | None = None,
    color: Color = MASK_COLOR,
    colour: Color | None = None,
) -> Image.Image:
    """Draw a mask and the prompts that led to it.

    Args:
        image: as `load_image` takes it.
        mask: (H, W) bool.
        points: (N, 2), (x, y) in pixels, or those of many prompts as `SlimSam.predict` takes them.
        labels: (N,), 1 or 0; all 1 if not given.
        box: (4,), x0, y0, x1, y1 in pixels, or (P, 4).
        color: color of the mask.
        colour: the former name of `color`.

    Returns:
        The picture, (H, W), RGB.

    Raises:
        ImageError: the image cannot be read or used.
        MaskError: the mask is no bool array (H, W) of the image's size.
        PromptError: points, labels or box are not of these shapes or values, or lie outside.
        SettingsError: the color is not (red, green, blue), each 0 to 255.
    """
    if colour is not None:
        warnings.warn("colour is now called color", DeprecationWarning, stacklevel=2)
        color = colour
    pixels = load_image(image)
    _check_size(pixels, checked_mask(mask).shape)
    size = (pixels.shape[0], pixels.shape[1])
    marks, boxes = check_prompts(points, labels, box, size)
    tint = checked_color(color)
    unit = max(size) / 400  # line widths follow the size of the picture
    line = max(1, round(unit))
    blend = pixels.astype(np.float32)
    blend[mask] += OPACITY * (np.array(tint, np.float32) - blend[mask])
    blend[_outline(mask, line)] = tint
    picture = Image.fromarray(blend.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    if boxes is not None:
        for x0, y0, x1, y1 in boxes.corners.tolist():
            draw.rectangle((x0, y0, x1, y1), outline=BOX_COLOR, width=line)
    if marks is not None:
        for (x, y), label in zip(
            marks.coords.reshape(-1, 2).tolist(), marks.labels.ravel().tolist(), strict=True
        ):
            if label in DOT_COLORS:  # others are absent, in prompts of different lengths
                draw.circle((x, y), 3.5 * unit, fill=DOT_COLORS[label], outline="white", width=line)
    return picture


def draw_records(image: ImageSource, records: Iterable[MaskRecord]) -> Image.Image:
    """Draw the masks of everything mode, each in a color of its own, smaller ones on top.

    Args:
        image: as `load_image` takes it.
        records: the records of this image.

    Returns:
        The picture, (H, W), RGB.

    Raises:
        ImageError: the image cannot be read or used.
        MaskError: they are no records, or one is not of the image's size.
    """
    pixels, given = load_image(image), checked_records(records)
    for record in given:
        _check_size(pixels, record.rle["size"])
    width = max(1, round(max(pixels.shape[:2]) / 500))
    paint = pixels.copy()
    opacity = np.zeros(pixels.shape[:2], np.uint8)
    largest_first = sorted(given, key=lambda record: -record.area)
    for record, color in zip(largest_first, distinct_colors(len(given)), strict=True):
        window = _window(record, width)
        mask = record.segmentation[window]
        paint[window][mask] = color
        opacity[window][mask] = round(255 * OPACITY)
        opacity[window][_outline(mask, width)] = 255
    return Image.composite(
        Image.fromarray(paint), Image.fromarray(pixels), Image.fromarray(opacity)
    )


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
