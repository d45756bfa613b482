"""The slots of one kind. All methods but `copy` and `write` are for who holds the lock.

A process may be killed between any two stores. So a slot is DIRTY before anything of it changes,
and its state becomes VALID or EMPTY after everything else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimsam_client.serving.cache.layout import DIRTY, EMPTY, ENTRY, PAGE, VALID, columns


@dataclass(frozen=True)
class Content:
    """What goes into a slot.

    Attributes:
        key: 32 bytes.
        picture: the key of the picture that it belongs to, 32 bytes.
        sizes: four numbers of 32 bits.
        created: seconds since the epoch.
        values: the slot's bytes, (nbytes,) uint8.
    """

    key: bytes
    picture: bytes
    sizes: tuple[int, ...]
    created: float
    values: NDArray[np.uint8]


class Slots:
    """The slots of one kind.

    Args:
        memory: the file's memory.
        count: how many there are.
        nbytes: bytes of each, a multiple of 4,096.
        table_at: offset of their table.
        slots_at: offset of the first.
    """

    def __init__(self, memory: Any, count: int, nbytes: int, table_at: int, slots_at: int) -> None:
        self.nbytes = nbytes
        self._entries = columns(memory, count, table_at)
        self._slots = np.frombuffer(memory, np.uint8, count * nbytes, slots_at).reshape(count, -1)

    @property
    def count(self) -> int:
        """How many slots there are."""
        return len(self._slots)

    def repair(self, tick: int) -> None:
        """Make harmless what a crash of the machine, or a damaged disk, may have left."""
        entries = self._entries
        # Nothing would ever evict what was used later than now. In place: other processes have it.
        np.minimum(entries["used"], tick, out=entries["used"])
        entries["state"][~np.isin(entries["state"], (EMPTY, VALID))] = DIRTY

    def find(self, key: bytes, picture: bytes) -> int | None:
        """Give the slot of a key, if it belongs to this picture.

        The keys of one model's pictures begin with the same bytes, and differ in their last ones.
        """
        entries = self._entries
        for index in np.flatnonzero(entries["key"][:, -1] == _words(key)[-1]):
            names = entries["key"][index].tobytes(), entries["picture"][index].tobytes()
            if self.is_valid(index) and names == (key, picture):
                return int(index)
        return None

    def is_valid(self, index: int) -> bool:
        """Whether a slot holds something."""
        return bool(self._entries["state"][index] == VALID)

    def age(self, index: int, now: float) -> float:
        """Give a content's age in seconds; a clock that was put back makes nothing younger."""
        return abs(now - float(self._entries["created"][index]))

    def use(self, index: int, tick: int) -> None:
        """Note that a slot has been used."""
        self._entries["used"][index] = tick

    def entry(self, index: int) -> Any:
        """Copy a slot's line of the table."""
        line = np.zeros((), ENTRY)
        for name, column in self._entries.items():
            line[name] = column[index]
        return line

    def holds(self, index: int, entry: Any) -> bool:
        """Whether a slot's content is still that of the line that was copied before."""
        return self.is_valid(index) and self._entries["generation"][index] == entry["generation"]

    def copy(self, index: int, entry: Any) -> Content | None:
        """Copy what a slot holds; give None if that is not what was written with this line.

        It means nothing unless the slot `holds` the line afterwards.
        """
        content = Content(
            entry["key"].tobytes(),
            entry["picture"].tobytes(),
            tuple(entry["sizes"].tolist()),
            float(entry["created"]),
            self._slots[index].copy(),
        )
        return content if (entry["check"] == check_of(content)).all() else None

    def begin(self, content: Content, tick: int) -> tuple[int, bool]:
        """Take a slot to write to: an empty one, or the one that was used least recently.

        Returns:
            Its index, and whether something valid was evicted.
        """
        entries = self._entries
        empty = np.flatnonzero(entries["state"] == EMPTY)
        index = int(empty[0]) if len(empty) else int(entries["used"].argmin())
        evicted = self.is_valid(index)
        entries["state"][index] = DIRTY
        entries["generation"][index] = tick
        entries["used"][index] = tick
        entries["created"][index] = content.created
        entries["key"][index] = _words(content.key)
        entries["picture"][index] = _words(content.picture)
        return index, evicted

    def write(self, index: int, content: Content) -> None:
        """Copy a content's bytes to a slot that was begun with it."""
        self._slots[index] = content.values

    def commit(
        self, index: int, content: Content, tick: int, check: NDArray[np.uint64], wanted: bool
    ) -> bool:
        """Make a written slot valid, and the only one of its key.

        Args:
            index: the slot.
            content: what was written.
            tick: that at which `begin` gave it.
            check: the content's checksum.
            wanted: whether it is to be kept; it is erased otherwise.

        Returns:
            Whether it is kept. It is not if others have needed the slot meanwhile, or if its
            picture has been forgotten.
        """
        entries = self._entries
        if entries["state"][index] != DIRTY or entries["generation"][index] != tick:
            return False
        if not wanted or entries["key"][index].tobytes() != content.key:
            self.erase(index)
            return False
        former = self.find(content.key, content.picture)
        if former is not None:
            self.erase(former)
        entries["sizes"][index] = content.sizes
        entries["check"][index] = check
        entries["state"][index] = VALID
        return True

    def erase(self, index: int, state: int = EMPTY) -> None:
        """Empty a slot, its bytes included; somebody may still write to it if it stays DIRTY."""
        entries = self._entries
        entries["state"][index] = DIRTY
        self._slots[index] = 0  # first, so that what is left of it is found by its picture's key
        entries["key"][index] = 0
        entries["picture"][index] = 0
        entries["state"][index] = state

    def forget(self, picture: bytes) -> int:
        """Erase what belongs to a picture; give how many valid slots that were."""
        forgotten = 0
        for index in np.flatnonzero((self._entries["picture"] == _words(picture)).all(axis=1)):
            is_valid = self.is_valid(index)
            # A writer that lives will find another key here, and erase what it has written.
            self.erase(index, EMPTY if is_valid else DIRTY)
            forgotten += is_valid
        return forgotten

    def expired(self, now: float, max_age: float) -> NDArray[np.int64]:
        """Give the slots whose content is older, or of a time that has not come yet."""
        entries = self._entries
        is_fresh = np.abs(now - entries["created"]) <= max_age
        return np.flatnonzero((entries["state"] != EMPTY) & ~is_fresh)

    def created(self) -> NDArray[np.float64]:
        """Give when the valid contents were made, (K,) seconds since the epoch."""
        entries = self._entries
        created: NDArray[np.float64] = entries["created"][entries["state"] == VALID]
        return created


def check_of(content: Content) -> NDArray[np.uint64]:
    """Give the checksum of a content, (2,) uint64.

    Sums of pages, which take as long as reading them, show what is half-written; SHA-256 over the
    sums and all else shows what lies in another's place.
    """
    pages = content.values.view(np.uint64).reshape(-1, PAGE // 8)
    digest = hashlib.sha256(content.key + content.picture)
    digest.update(np.array(content.sizes, "<i4").tobytes())
    digest.update(np.float64(content.created).tobytes())
    digest.update(pages.sum(axis=1, dtype=np.uint64).tobytes())
    return np.frombuffer(digest.digest()[:16], "<u8")


def _words(key: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(key, "<u8")
