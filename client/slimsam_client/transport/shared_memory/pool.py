"""`RegionPool`: the regions of one client, and which request uses which."""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages

from slimsam_client.errors import (
    ServerError,
    SharedMemoryError,
    SlimSamError,
)
from slimsam_client.transport.exchange import Exchange, Pause, Rpc
from slimsam_client.transport.forks import begins_anew_after_fork
from slimsam_client.transport.shared_memory.layout import Layout
from slimsam_client.transport.shared_memory.owner import is_abandoned, region_name
from slimsam_client.transport.shared_memory.refusal import shared_memory_refused
from slimsam_client.transport.shared_memory.region import DIRECTORY, Region, named_memory

STEP_BYTES: Final = 4 * 1024 * 1024
"""Sizes of regions are multiples of this: a click takes 4 MiB, an image 8, 16 prompts 12."""

CLOSING_PAUSES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts to unregister a region whose request was answered."""

_numbers = itertools.count()
_open: weakref.WeakValueDictionary[int, RegionPool] = weakref.WeakValueDictionary()
"""The pools of this process that may still use their regions."""


class RegionPool:
    """Gives regions to requests. A region belongs to one request, and to another after its answer.

    A request that ends without an answer, by its timeout or by cancellation, may go on in the
    server and still write: its region is retired. So there are as many regions as requests were
    ever under way at once, and one for each that goes on without its caller.

    Triton, from 24.09 on, does not unregister a region that a request uses: 2.51 answers with an
    error, later releases do it after the request. So the pool asks, and asks again whenever it
    makes a region.

    Raises:
        SharedMemoryError: this is not Linux.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise SharedMemoryError(
                f"shared_memory: expected Linux, got {sys.platform}; do without it"
            )
        self._number = next(_numbers)
        self._names = itertools.count()
        self._begin()
        _open[self._number] = self
        begins_anew_after_fork(self)

    def _begin(self) -> None:
        self._free: list[Region] = []
        self._registered: set[str] = set()
        self._retired: set[str] = set()
        self._looked = False
        self._lock = threading.Lock()

    def forget_parent(self) -> None:
        """Leave the regions to the parent of a forked process: it uses and unregisters them."""
        self._begin()

    def take(self, layout: Layout, arrays: Mapping[str, NDArray[Any]]) -> Exchange[Region]:
        """Give a region that no request uses.

        Args:
            layout: the layout that it must hold.
            arrays: what will be written; a region that begins with one of them is preferred.

        Raises:
            SharedMemoryError: there is no room for the region, or the server refuses it.
        """
        size = max(place.end for place in layout.values())
        with self._lock:
            fitting = [region for region in self._free if len(region.memory) >= size]
            if fitting:
                region = min(
                    fitting, key=lambda one: (not one.begins_with(arrays), len(one.memory))
                )
                self._free.remove(region)
                return region
            if self._free:  # a larger one takes its place
                self._retired.add(self._free.pop().name)
        return (yield from self._make(-(-size // STEP_BYTES) * STEP_BYTES))

    def give_back(self, region: Region) -> None:
        """Take a region back: its request was answered, and nobody reads the answer any more."""
        with self._lock:
            self._free.append(region)

    def retire(self, name: str) -> None:
        """Never use a region again: the server may still write into it."""
        with self._lock:
            self._retired.add(name)

    def retire_free(self) -> None:
        """Use none of the regions again that are free now: the server has forgotten them."""
        with self._lock:
            self._retired.update(region.name for region in self._free)
            self._free.clear()

    def close(self) -> Exchange[None]:
        """Unregister all regions, but for those of requests that go on in the server."""
        with self._lock:
            free = [region.name for region in self._free]
            busy = (self._registered | self._retired).difference(free)
            self._registered.clear()
            self._retired.clear()
            self._free.clear()
        _open.pop(self._number, None)
        try:
            for name in busy:
                yield from _unregister(name)
            for name in free:
                # The server lets go of a region a moment after its answer.
                for seconds in CLOSING_PAUSES:
                    if (yield from _unregister(name)):
                        break
                    yield Pause(seconds)
        except SlimSamError:
            pass  # there is no server any more

    def _make(self, size: int) -> Exchange[Region]:
        """Make a region and register it."""
        name = region_name(self._number, next(self._names))
        register = messages.SystemSharedMemoryRegisterRequest(
            name=name, key=f"/{name}", offset=0, byte_size=size
        )
        try:
            yield from self._tidy()
            with named_memory(name, size) as memory:
                with self._lock:
                    self._registered.add(name)
                try:
                    yield Rpc("SystemSharedMemoryRegister", register)
                except BaseException:
                    self.retire(name)  # it may have been registered nevertheless
                    raise
        except SlimSamError as error:
            if refusal := shared_memory_refused(error):
                raise refusal from error
            raise
        except OSError as error:
            raise SharedMemoryError(
                f"{DIRECTORY}: expected room for {size >> 20} MiB of shared memory: "
                f"{error.strerror}; make it larger (docker run --shm-size), or do without "
                "shared_memory"
            ) from error
        return Region(name, memory)

    def _tidy(self) -> Exchange[None]:
        """Unregister what was retired; and once, what killed and forgotten clients left behind."""
        if not self._looked:
            request = messages.SystemSharedMemoryStatusRequest()
            status = yield Rpc("SystemSharedMemoryStatus", request)
            left = [name for name in status.regions if is_abandoned(name, _open)]
            with self._lock:
                self._retired.update(left)
            self._looked = True
        with self._lock:
            names = tuple(self._retired)
        for name in names:
            if (yield from _unregister(name)):
                with self._lock:
                    self._retired.discard(name)
                    self._registered.discard(name)


def _unregister(name: str) -> Exchange[bool]:
    """Unregister a region; give False if the server does not do so now, as during its request."""
    try:
        request = messages.SystemSharedMemoryUnregisterRequest(name=name)
        yield Rpc("SystemSharedMemoryUnregister", request)
    except ServerError:
        return False
    return True
