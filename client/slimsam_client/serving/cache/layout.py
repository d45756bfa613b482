"""Where everything lies in the cache's file: a header, a table for each kind of slot, the slots."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import EMBEDDING_CHANNELS, EMBEDDING_SIZE, LOW_RES_SIZE
from slimsam_client.quoting import quoted_value
from slimsam_client.serving.cache.errors import CacheError

VERSION: Final = 2
"""A file of another version is made anew: raise it with any change of what the bytes mean."""
PAGE: Final = 4096
HEADER: Final = struct.Struct("<8s7Q")
TICK_AT: Final = HEADER.size
"""The shared clock of uses, a number of 8 bytes, follows the header."""

EMBEDDING_SHAPE: Final = (EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE)
LOGITS_SHAPE: Final = (LOW_RES_SIZE, LOW_RES_SIZE)
PICTURE_BYTES: Final = 2 * EMBEDDING_CHANNELS * EMBEDDING_SIZE**2
MASK_BYTES: Final = 2 * LOW_RES_SIZE**2
MASKS_PER_PICTURE: Final = 8
"""So many masks there is room for beside each picture, on average: a third of the bytes."""

EMPTY: Final = 0
VALID: Final = 1
DIRTY: Final = 2
"""A slot that is being written has this state, and keeps it if its writer is killed."""

ENTRY: Final = np.dtype(
    [
        ("state", "<u8"),
        ("generation", "<u8"),  # of the slot's content: the tick at which it was begun
        ("used", "<u8"),  # the tick of its last use
        ("created", "<f8"),  # seconds since the epoch, since it has to outlive a restart
        ("key", "<u8", 4),
        ("picture", "<u8", 4),  # the key of the picture that it belongs to
        ("sizes", "<i4", 4),  # height and width of the picture, and those in the 1024 frame
        ("check", "<u8", 2),  # over all that follows `used`, and the slot
    ]
)
"""A slot's line of a table. `state` is written by one store, since it is aligned to its 8 bytes."""


def columns(memory: Any, count: int, at: int) -> dict[str, NDArray[Any]]:
    """Give a table's fields, each an array of its own, (count, ...).

    A table has one field of all its lines after the other. So looking for a key reads 32 bytes of
    each line, and of whole lines a cache line: a table of 100,000 masks is read by every click.

    Args:
        memory: the file's memory.
        count: lines.
        at: offset of the table, a multiple of 8.
    """
    found: dict[str, NDArray[Any]] = {}
    for name in ENTRY.names or ():
        kind = ENTRY[name]
        numbers = count * int(np.prod(kind.shape, dtype=np.int64))
        found[name] = np.frombuffer(memory, kind.base, numbers, at).reshape(count, *kind.shape)
        at += count * kind.itemsize
    return found


@dataclass(frozen=True)
class CacheSizes:
    """How many slots there are.

    Attributes:
        pictures: slots of 2 MiB, each for an embedding.
        masks: slots of 128 KiB, each for the logits of a mask.

    Raises:
        CacheError: one of them is less than 1.
    """

    pictures: int
    masks: int

    def __post_init__(self) -> None:
        if min(self.pictures, self.masks) < 1:
            raise CacheError(
                "cache: expected room for a picture and a mask at least, got "
                f"{self.pictures} pictures and {self.masks} masks"
            )

    @classmethod
    def within(cls, max_bytes: int) -> CacheSizes:
        """Give the slots of a file of at most so many bytes, all included.

        Raises:
            CacheError: not even one picture has room.
        """
        per_picture = PICTURE_BYTES + MASKS_PER_PICTURE * (MASK_BYTES + ENTRY.itemsize)
        pictures = (max_bytes - 3 * PAGE) // (per_picture + ENTRY.itemsize)
        if pictures < 1:
            least = cls(1, MASKS_PER_PICTURE).nbytes
            raise CacheError(
                f"cache: expected at least {least:,} bytes, which is room for one picture, got "
                f"{quoted_value(max_bytes)}"
            )
        return cls(pictures, pictures * MASKS_PER_PICTURE)

    @property
    def header(self) -> bytes:
        """The first bytes of a file of these sizes."""
        sizes = (PAGE, ENTRY.itemsize, self.pictures, PICTURE_BYTES, self.masks, MASK_BYTES)
        return HEADER.pack(b"SlimSAM\0", VERSION, *sizes)

    @property
    def tables_at(self) -> tuple[int, int]:
        """Offsets of the tables, of pictures and of masks."""
        return PAGE, PAGE + self.pictures * ENTRY.itemsize

    @property
    def slots_at(self) -> tuple[int, int]:
        """Offsets of the slots, of pictures and of masks, at the beginning of a page."""
        end = self.tables_at[1] + self.masks * ENTRY.itemsize
        first = -(-end // PAGE) * PAGE
        return first, first + self.pictures * PICTURE_BYTES

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return self.slots_at[1] + self.masks * MASK_BYTES
