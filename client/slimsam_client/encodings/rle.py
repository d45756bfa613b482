"""COCO's run-length encoding: runs down the columns, background first."""

from __future__ import annotations

from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from slimsam_client.encodings.mask import check_pixels, checked_mask, checked_size
from slimsam_client.errors import MaskError
from slimsam_client.image.load import MAX_PIXELS
from slimsam_client.quoting import quoted_value

MAX_TOTAL: Final = 2**32 - 1
"""A mask has at most so many pixels, since COCO's runs have 32 bits."""
MAX_GROUPS: Final = 7
"""Of 5 bits each: the longest numbers that pycocotools writes."""


class Rle(TypedDict):
    """COCO's compressed RLE: `size` [height, width], and the runs as ASCII."""

    size: list[int]
    counts: bytes


class JsonRle(TypedDict):
    """The same as JSON can have it."""

    size: list[int]
    counts: str


class UncompressedRle(TypedDict):
    """COCO's uncompressed RLE: `size` [height, width], and the lengths of the runs."""

    size: list[int]
    counts: list[int]


def to_rle(mask: NDArray[np.bool_]) -> Rle:
    """Encode (H, W) bool as COCO's compressed RLE.

    Raises:
        MaskError: the mask is no bool array (H, W).
    """
    encoded = coco.encode(np.asfortranarray(checked_mask(mask), np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"]}


def to_uncompressed_rle(mask: NDArray[np.bool_]) -> UncompressedRle:
    """Encode (H, W) bool as COCO's uncompressed RLE.

    Raises:
        MaskError: the mask is no bool array (H, W).
    """
    flat = checked_mask(mask).ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(np.concatenate([[0], starts, [flat.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def to_json_rle(rle: Rle) -> JsonRle:
    """Give compressed RLE as JSON can have it."""
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def from_rle(
    rle: Rle | JsonRle | UncompressedRle, max_pixels: int = MAX_PIXELS
) -> NDArray[np.bool_]:
    """Decode COCO's RLE, compressed (bytes or str) or not, to (H, W) bool.

    Args:
        rle: the mask.
        max_pixels: larger ones are refused before they are decoded.

    Raises:
        MaskError: it is none, its runs are not as many pixels as its size has, or these are more
            than max_pixels.
    """
    height, width = _size(rle)
    check_pixels("RLE", height, width, max_pixels)
    runs = _runs(rle)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def rle_area(rle: Rle | JsonRle | UncompressedRle) -> int:
    """Count the pixels of a mask.

    Raises:
        MaskError: it is no RLE, or its runs are not as many pixels as its size has.
    """
    return int(_runs(rle)[1::2].sum())


def rle_box(rle: Rle | JsonRle | UncompressedRle) -> tuple[int, int, int, int] | None:
    """Give what `to_box` gives, without decoding the mask.

    Raises:
        MaskError: as `rle_area`.
    """
    height, _ = _size(rle)
    runs = _runs(rle)
    ends, sizes = np.cumsum(runs)[1::2], runs[1::2]
    first, last = (ends - sizes)[sizes > 0], ends[sizes > 0] - 1
    if not len(first):
        return None
    # A run that goes on in the next column has the lowest row and the highest one.
    goes_on = (first // height != last // height).any()
    y0, y1 = (0, height - 1) if goes_on else ((first % height).min(), (last % height).max())
    return int(first[0] // height), int(y0), int(last[-1] // height) + 1, int(y1) + 1


def _size(rle: Any) -> tuple[int, int]:
    try:
        return checked_size(rle["size"])
    except (IndexError, KeyError, TypeError) as error:
        raise MaskError(
            "RLE: expected COCO's, with `size` [height, width] and `counts`, "
            f"got {type(rle).__name__}"
        ) from error


def _runs(rle: Any) -> NDArray[np.int64]:
    """Lengths of the runs, checked against the size."""
    height, width = _size(rle)
    counts = rle.get("counts")
    if isinstance(counts, str | bytes):
        runs = _decompressed(counts.encode() if isinstance(counts, str) else counts)
    else:
        runs = _listed(counts)
    total = height * width
    if (
        total > MAX_TOTAL
        or runs.min(initial=0) < 0
        or runs.max(initial=0) > total
        or runs.sum() != total
    ):
        raise MaskError(
            f"RLE: expected runs of {height} x {width} = {total} pixels in all, got others; "
            "it is damaged, or its size is of another image"
        )
    return runs


def _listed(counts: Any) -> NDArray[np.int64]:
    """The runs of an uncompressed RLE."""
    if isinstance(counts, list | tuple) and all(type(count) is int for count in counts):
        try:
            return np.array(counts, np.int64)
        except OverflowError:
            pass
    raise MaskError(
        "RLE: expected counts as bytes, str or a list of integers, "
        f"got {type(counts).__name__} {quoted_value(counts)}"
    )


def _decompressed(counts: bytes) -> NDArray[np.int64]:
    """Read compressed runs: pycocotools' `rleFrString`, which does not check where they end.

    Each number is in groups of 5 bits, the lowest first, bit 5 saying that another follows and the
    highest bit of the last being the sign; from the fourth on, it is the difference to the run two
    before. Nearly all have one group or two, and are read in 16 bits: a ragged mask has 100,000
    runs, and each click on a kept picture waits until they are read.
    """
    groups = np.frombuffer(counts, np.uint8) - np.uint8(48)  # what is below wraps around
    goes_on = groups > 31
    if not len(groups) or groups.max() > 63 or goes_on[-1]:
        raise _damaged()
    low = (groups & 31).astype(np.int16)
    last = (low ^ 16) - np.int16(16)
    # A group that follows another counts 32 times, and has that one's bits beside its own.
    follows = goes_on[:-1]
    numbers = last.copy()
    numbers[1:] += follows * (low[:-1] + 31 * last[1:])
    runs = numbers[~goes_on].astype(np.int64)
    longer = np.flatnonzero(follows & goes_on[1:])
    if len(longer):
        starts = longer[np.diff(longer, prepend=-2) > 1]
        places = starts - np.searchsorted(np.flatnonzero(goes_on), starts)
        runs[places] = _long_numbers(groups, starts)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _long_numbers(groups: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Read numbers of three groups or more, by where each begins."""
    numbers = np.zeros(len(starts), np.int64)
    unread = np.arange(len(starts))
    for place in range(MAX_GROUPS):
        group = groups[starts[unread] + place].astype(np.int64)
        ends = group < 32
        numbers[unread] += np.where(ends, (group ^ 16) - 16, group & 31) << 5 * place
        unread = unread[~ends]
    if len(unread):
        raise _damaged()
    return numbers


def _damaged() -> MaskError:
    return MaskError("RLE: expected COCO's compressed counts, got a damaged text")
