"""Memory of a process that makes the same arrays for each request, and frees them."""

from __future__ import annotations

from typing import Final

import numpy as np

LARGEST: Final = 2**24
"""Bytes of the largest arrays that requests make again and again: a mask of 16 megapixels."""


def keep_freed_memory() -> None:
    """Have malloc keep what is freed, up to twice `LARGEST` bytes, for the next request.

    At first, glibc gives memory of 128 KiB or more back to the system as soon as it is free, and
    each page of the next array is a page fault. It learns from blocks that come and go: after one
    of some size, up to 32 MiB, it keeps blocks of that size, and twice as much in all (mallopt(3),
    M_MMAP_THRESHOLD). Nothing is written to this one, so it takes no memory. Other libraries do not
    learn, which harms nothing.
    """
    np.empty(LARGEST, np.uint8)
