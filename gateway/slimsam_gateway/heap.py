"""glibc's heap, set for pictures that come and go."""

from __future__ import annotations

import ctypes
from typing import Final

M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 2**20


def give_back_large_buffers() -> None:
    """Let this process give the kernel each large buffer as soon as it is free.

    By itself glibc takes the size of what was freed for one that will come again, and keeps as
    much for each thread's arena: a gateway grew by 5.7 times what it had been sent at once, and
    by more from one burst to the next, in place of 4. Another C library is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
