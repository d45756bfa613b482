"""Label Studio's brush masks: RGBA pixels as run lengths of whole bytes, in bits.

A stream begins with the number of its bytes in 32 bits, the size of a word less one in 5, and four
sizes of run lengths, each less one, in 4 bits. Each run is a bit 1, the number of its size in 2
bits, its length less one in as many bits as that says, and its byte. Zeros fill the last byte.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.encodings.mask import checked_mask
from slimsam_client.errors import MaskError

CHANNELS: Final = 4
SIZES: Final = (3, 4, 8, 16)
MAX_PIXELS: Final = 2**32 // CHANNELS - 1
_WORD: Final = 8
_MAX_RUN: Final = 2 ** SIZES[-1]


def to_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask as Label Studio's RLE, opaque white where it is inside.

    Args:
        mask: (H, W) bool.

    Returns:
        The stream's bytes, as JSON can have them.

    Raises:
        MaskError: it is no bool array (H, W), or has no pixels, or too many.
    """
    flat = np.ravel(checked_mask(mask))
    if not 0 < flat.size <= MAX_PIXELS:
        raise MaskError(f"brush: expected from 1 to {MAX_PIXELS:,} pixels, got {flat.size:,}")
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = CHANNELS * np.diff(starts, append=flat.size)
    codes, widths = _runs(*_split(lengths, flat[starts]))
    header = (CHANNELS * flat.size, _WORD - 1, *(size - 1 for size in SIZES))
    codes = np.concatenate([np.array(header, np.int64), codes])
    widths = np.concatenate([np.array((32, 5, 4, 4, 4, 4), np.int64), widths])
    stream: list[int] = np.packbits(_bits(codes, widths)).tolist()
    return stream


def _split(
    lengths: NDArray[np.int64], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Split runs that are longer than a run can be."""
    parts = -(-lengths // _MAX_RUN)
    split = np.full(parts.sum(), _MAX_RUN, np.int64)
    split[np.cumsum(parts) - 1] = lengths - (parts - 1) * _MAX_RUN
    return split, np.repeat(inside, parts)


def _runs(
    lengths: NDArray[np.int64], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each run's bits as a number, and how many they are."""
    number = np.searchsorted(2 ** np.array(SIZES), lengths)
    size = np.array(SIZES)[number]
    head = ((4 + number) << size) | (lengths - 1)
    return (head << _WORD) | np.where(inside, 255, 0), 3 + size + _WORD


def _bits(codes: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Put numbers behind each other, each in its own number of bits, the highest first."""
    ends = np.cumsum(widths)
    bits = np.zeros(ends[-1], np.uint8)
    for place in range(int(widths.max())):
        there = widths > place
        bits[ends[there] - 1 - place] = (codes[there] >> place) & 1
    return bits
