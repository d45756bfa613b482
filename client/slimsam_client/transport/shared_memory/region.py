"""`Region`: shared memory that has a name only until the server has opened it."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.transport.shared_memory.layout import Layout

DIRECTORY: Final = Path("/dev/shm")
"""Linux keeps the names of shared memory in this directory."""


@dataclass(frozen=True, eq=False)
class Slot:
    """A tensor's place in one region, as a request names it.

    Attributes:
        region: the name of the region.
        offset: the place's offset in the region, in bytes.
        view: the place itself, with the batch axis where the model has one.
    """

    region: str
    offset: int
    view: NDArray[Any]


class Region:
    """Shared memory that the server has registered.

    Attributes:
        name: the name by which the server knows it.
        memory: (size,) uint8, which stays mapped as long as anyone has a view of it.
    """

    def __init__(self, name: str, memory: NDArray[np.uint8]) -> None:
        self.name = name
        self.memory = memory
        self._first: weakref.ref[NDArray[Any]] | None = None

    def slots(self, layout: Layout) -> dict[str, Slot]:
        """Give the places of a layout in this region."""
        return {
            name: Slot(
                self.name,
                place.offset,
                self.memory[place.offset : place.end].view(place.dtype).reshape(place.shape),
            )
            for name, place in layout.items()
        }

    def write(self, slots: Mapping[str, Slot], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Copy a request's inputs to their places.

        The first input is not written if it is there already, from the request before: so the
        embedding of an image is written once for many requests.
        """
        there, self._first = self._first, None
        for name in slots.keys() & arrays.keys():
            slot, array = slots[name], arrays[name]
            if slot.offset > 0 or there is None or there() is not array:
                np.copyto(slot.view, array)
            if slot.offset == 0 and _is_constant(array):
                self._first = weakref.ref(array)

    def begins_with(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Whether the region begins with one of these arrays."""
        first = self._first and self._first()
        return first is not None and any(array is first for array in arrays.values())


@contextmanager
def named_memory(name: str, size: int) -> Iterator[NDArray[np.uint8]]:
    """Make shared memory. Its name ends with the context, the memory with its last view.

    If this process is killed within the context, multiprocessing's resource tracker removes the
    name: a process of its own, which Python starts when it is first needed.

    Args:
        name: name of the file in /dev/shm.
        size: its size in bytes.

    Raises:
        OSError: there is no such directory, or no room in it.
    """
    path = DIRECTORY / name
    resource_tracker.register(f"/{name}", "shared_memory")
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            # Without room, a write would kill the process that writes, this or the server (SIGBUS).
            os.posix_fallocate(descriptor, 0, size)
            memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        yield np.frombuffer(memory, np.uint8)
    finally:
        path.unlink(missing_ok=True)
        resource_tracker.unregister(f"/{name}", "shared_memory")


def _is_constant(array: NDArray[Any]) -> bool:
    """Whether nobody can change the array."""
    return array.flags.owndata and not array.flags.writeable
