"""glibc's heap, set for large tensors that come and go."""

from __future__ import annotations

import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free, for the next ones.

    glibc gives large buffers back to the kernel at once, and takes them from it again page by page:
    `SamModel`'s attention, at 0.8 GB in each global layer, spends half of its time there. The most
    memory that the process has stays the same. Another C library is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
