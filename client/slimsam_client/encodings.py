"""Encodings of a mask: COCO RLE, polygons with holes, PNG, packed bits, boxes; and back again."""

from __future__ import annotations

import io
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from slimsam_client.errors import ImageError


class Rle(TypedDict):
    """COCO's compressed RLE: `size` (height, width), and runs down the columns as ASCII."""

    size: list[int]
    counts: bytes


class UncompressedRle(TypedDict):
    """COCO's uncompressed RLE: `size` (height, width), and lengths of runs, background first."""

    size: list[int]
    counts: list[int]


def to_rle(mask: NDArray[np.bool_]) -> Rle:
    """Encode (H, W) bool as COCO's compressed RLE (pycocotools)."""
    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"]}


def from_rle(rle: Rle | UncompressedRle) -> NDArray[np.bool_]:
    """Decode COCO's RLE, compressed (bytes or str) or not, to (H, W) bool."""
    counts = rle["counts"]
    if isinstance(counts, list):
        runs = np.arange(len(counts)) % 2 == 1
        height, width = rle["size"]
        return np.repeat(runs, counts).reshape(width, height).T
    return np.asarray(coco.decode(rle), np.bool_)


def to_uncompressed_rle(mask: NDArray[np.bool_]) -> UncompressedRle:
    """Encode (H, W) bool as COCO's uncompressed RLE."""
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(np.concatenate([[0], starts, [flat.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def rle_area(rle: Rle) -> int:
    """Count the pixels of a mask."""
    return int(coco.area(rle))


def to_png(mask: NDArray[np.bool_]) -> bytes:
    """Encode (H, W) bool as a PNG of one bit per pixel."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG", optimize=True)
    return file.getvalue()


def from_png(data: bytes) -> NDArray[np.bool_]:
    """Decode a PNG to (H, W) bool; grey values above 127 are inside.

    Raises:
        ImageError: it is no PNG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("L")) > 127
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"expected a PNG, got something else ({error})") from error


def to_packed_bits(mask: NDArray[np.bool_]) -> bytes:
    """Pack (H, W) bool into bits, row after row without gaps, the first in the highest bit."""
    return np.packbits(mask).tobytes()


def from_packed_bits(data: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Unpack bits to (H, W) bool.

    Args:
        data: ceil(H * W / 8) bytes.
        size: (height, width).
    """
    count = size[0] * size[1]
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).reshape(size).astype(np.bool_)


def to_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Give x0, y0, x1, y1 in pixels, right and lower edge exclusive; None for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
