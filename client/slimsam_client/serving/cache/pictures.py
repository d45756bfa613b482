"""`PictureCache`: embeddings and masks that all processes of a server keep together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.numeric import as_number
from slimsam_client.quoting import quoted_value
from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.file import FileLock, open_file
from slimsam_client.serving.cache.identity import KEY_BYTES
from slimsam_client.serving.cache.layout import (
    EMBEDDING_SHAPE,
    LOGITS_SHAPE,
    MASK_BYTES,
    PICTURE_BYTES,
    TICK_AT,
    CacheSizes,
)
from slimsam_client.serving.cache.slots import Content, Slots, check_of
from slimsam_client.serving.picture_store import KeptPicture

ATTEMPTS: Final = 4
"""A slot that is replaced while it is copied is looked for again so often."""


@dataclass
class Counts:
    """What has happened in this process since it opened the cache, for pictures or for masks.

    Attributes:
        hits: what was asked for and found.
        misses: what was asked for and not found.
        evictions: what made room for something newer.
        expired: what was older than the greatest age.
        forgotten: what was erased by `forget`.
        damaged: what was not as it had been written, and was dropped.
        unkept: what was put and is not kept: too many others were put meanwhile, or its picture is
            gone.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    expired: int = 0
    forgotten: int = 0
    damaged: int = 0
    unkept: int = 0


@dataclass(frozen=True)
class Occupancy:
    """What the file holds at the moment, of pictures or of masks.

    Attributes:
        entries: how many.
        slots: how many there is room for.
        nbytes: bytes of the entries.
        oldest_age: seconds since the oldest was put; 0 if there is none.
    """

    entries: int
    slots: int
    nbytes: int
    oldest_age: float


class PictureCache:
    """Embeddings of pictures, and logits of masks, in one file that several processes map.

    What was used least recently makes room. A process may be killed at any moment: what is got is
    what was put under this key, whole, or nothing. Safe to share between threads; a forked process
    has to open its own.

    The slot of an entry is copied without the lock, so that nobody waits for it; whether it was
    replaced meanwhile is asked afterwards, and a checksum shows what a crash of the machine has
    left of a file on a disk.

    Args:
        path: the file; its directory has to exist. In /dev/shm it lasts until the machine restarts,
            on a disk for longer.
        sizes: how many slots there are. A file of others, or a damaged one, is made anew.
        max_age: seconds after which an entry is erased; None: never.

    Raises:
        CacheError: the filesystem has not enough room, the file is somebody else's, or the age is
            no number above 0.
    """

    def __init__(
        self, path: str | os.PathLike[str], sizes: CacheSizes, max_age: float | None = None
    ) -> None:
        age = None if max_age is None else as_number(max_age)
        if max_age is not None and (age is None or not age > 0):
            raise CacheError(
                f"max_age: expected seconds above 0, or None, got {quoted_value(max_age)}"
            )
        self._max_age = age
        self._descriptor, memory = open_file(Path(path), sizes)
        self._memory = memory
        self._lock = FileLock(self._descriptor)
        tables, slots = sizes.tables_at, sizes.slots_at
        self._clock: NDArray[np.uint64] = np.frombuffer(memory, "<u8", 1, TICK_AT)
        self._pictures = Slots(memory, sizes.pictures, PICTURE_BYTES, tables[0], slots[0])
        self._masks = Slots(memory, sizes.masks, MASK_BYTES, tables[1], slots[1])
        self.picture_counts = Counts()
        self.mask_counts = Counts()
        with self._lock:
            for part, _ in self._kinds():
                part.repair(int(self._clock[0]))

    def get_picture(self, key: bytes) -> KeptPicture | None:
        """Give a picture, or None if it is not there; and count it as used."""
        content = self._read(self._pictures, self.picture_counts, _checked(key), key)
        if content is None:
            return None
        height, width, *valid = content.sizes
        embedding = content.values.view(np.float16).reshape(EMBEDDING_SHAPE)
        return KeptPicture(embedding, (height, width), (valid[0], valid[1]))

    def picture_size(self, key: bytes) -> tuple[int, int] | None:
        """Give the original_size of a picture, as `get_picture` without its embedding."""
        with self._lock:
            index = self._fresh(self._pictures, self.picture_counts, _checked(key), key)
            if index is None:
                self.picture_counts.misses += 1
                return None
            self.picture_counts.hits += 1
            self._pictures.use(index, self._tick())
            height, width, *_ = self._pictures.entry(index)["sizes"].tolist()
            return height, width

    def put_picture(self, key: bytes, picture: KeptPicture) -> bool:
        """Keep a picture, in place of what is there under its key.

        Returns:
            Whether it is kept: not if it is forgotten meanwhile, or more pictures than there are
            slots are put.

        Raises:
            ValueError: the embedding is not (256, 64, 64) float16.
        """
        values = _as_bytes(picture.image_embeddings, EMBEDDING_SHAPE)
        sizes = (*picture.original_size, *picture.input_size)
        content = Content(_checked(key), key, sizes, time.time(), values)
        return self._write(self._pictures, self.picture_counts, content, lambda: True)

    def get_mask(self, picture_key: bytes, key: bytes) -> NDArray[np.float16] | None:
        """Give a mask of a picture, (256, 256) logits, or None; and count it as used.

        A mask of another picture is not there.
        """
        content = self._read(self._masks, self.mask_counts, _checked(key), _checked(picture_key))
        return None if content is None else content.values.view(np.float16).reshape(LOGITS_SHAPE)

    def put_mask(self, picture_key: bytes, key: bytes, logits: NDArray[np.float16]) -> bool:
        """Keep a mask of a picture.

        Returns:
            Whether it is kept: not without its picture, so that no answer which was under way
            brings back what was forgotten.

        Raises:
            ValueError: the logits are not (256, 256) float16.
        """
        values = _as_bytes(logits, LOGITS_SHAPE)
        content = Content(_checked(key), _checked(picture_key), (0, 0, 0, 0), time.time(), values)

        def has_picture() -> bool:
            return self._pictures.find(picture_key, picture_key) is not None

        return self._write(self._masks, self.mask_counts, content, has_picture)

    def forget(self, picture_key: bytes) -> bool:
        """Erase a picture and its masks, their bytes included.

        Returns:
            Whether there was anything.
        """
        forgotten = 0
        with self._lock:
            for part, counts in self._kinds():  # the picture first: no mask is kept without it
                found = part.forget(_checked(picture_key))
                counts.forgotten += found
                forgotten += found
        return forgotten > 0

    def sweep(self) -> None:
        """Erase what is older than the greatest age; each `put` does so, too."""
        if self._max_age is None:
            return
        for part, counts in self._kinds():
            for index in part.expired(time.time(), self._max_age):
                with self._lock:  # one at a time, so that others get it in between
                    if index in part.expired(time.time(), self._max_age):
                        counts.expired += part.is_valid(index)
                        part.erase(index)

    def occupancy(self) -> tuple[Occupancy, Occupancy]:
        """Say what the file holds, of pictures and of masks."""
        with self._lock:
            created = self._pictures.created(), self._masks.created()
        now = time.time()
        pictures, masks = (
            Occupancy(
                len(times),
                part.count,
                len(times) * part.nbytes,
                max(0.0, now - float(times.min(initial=now))),
            )
            for (part, _), times in zip(self._kinds(), created, strict=True)
        )
        return pictures, masks

    def close(self) -> None:
        """Close the file, which stays; the cache cannot be used afterwards."""
        if self._descriptor >= 0:
            del self._pictures, self._masks, self._clock
            self._memory.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def _kinds(self) -> tuple[tuple[Slots, Counts], ...]:
        return (self._pictures, self.picture_counts), (self._masks, self.mask_counts)

    def _tick(self) -> int:
        self._clock[0] += np.uint64(1)
        return int(self._clock[0])

    def _fresh(self, part: Slots, counts: Counts, key: bytes, picture: bytes) -> int | None:
        """Find a slot, unless it is too old."""
        index = part.find(key, picture)
        if index is None or self._max_age is None:
            return index
        if part.age(index, time.time()) <= self._max_age:
            return index
        counts.expired += 1
        part.erase(index)
        return None

    def _read(self, part: Slots, counts: Counts, key: bytes, picture: bytes) -> Content | None:
        for _ in range(ATTEMPTS):
            with self._lock:
                index = self._fresh(part, counts, key, picture)
                if index is None:
                    break
                entry = part.entry(index)
                part.use(index, self._tick())
            content = part.copy(index, entry)
            with self._lock:
                if not part.holds(index, entry):
                    continue
                if content is None:
                    counts.damaged += 1
                    part.erase(index)
                    break
                counts.hits += 1
                return content
        with self._lock:
            counts.misses += 1
        return None

    def _write(
        self, part: Slots, counts: Counts, content: Content, is_wanted: Callable[[], bool]
    ) -> bool:
        self.sweep()
        check = check_of(content)
        with self._lock:
            tick = self._tick()
            index, evicted = part.begin(content, tick)
            counts.evictions += evicted
        part.write(index, content)
        with self._lock:
            kept = part.commit(index, content, tick, check, is_wanted())
            counts.unkept += not kept
        return kept


def _checked(key: bytes) -> bytes:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ValueError(f"key: expected {KEY_BYTES} bytes, got {quoted_value(key)}")
    return key


def _as_bytes(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if values.dtype != np.float16 or values.shape != shape:
        raise ValueError(f"expected {shape} float16, got {values.shape} {values.dtype}")
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)
