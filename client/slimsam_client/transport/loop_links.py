"""The channels of an event loop: a gRPC channel belongs to the loop in which it was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc.aio

from slimsam_client.errors import SettingsError
from slimsam_client.transport.forks import begins_anew_after_fork
from slimsam_client.transport.links import Links
from slimsam_client.transport.status import client_closed

AsyncLinks = Links[grpc.aio.Channel]


class LoopLinks:
    """The `Links` of one event loop, and of a later one when that has ended.

    They are made at the first request, for applications make their clients before their loops.

    Args:
        make: makes a channel for the running event loop.
        url: address of the server, for messages.
    """

    def __init__(self, make: Callable[[], grpc.aio.Channel], url: str) -> None:
        self._make = make
        self._url = url
        self._closed = False
        self.forget_parent()
        begins_anew_after_fork(self)

    def forget_parent(self) -> None:
        """Begin anew in a forked process."""
        self._links: AsyncLinks | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def closed(self) -> bool:
        """Whether there is nothing to close: no request was made in this loop, or `close` was."""
        return self._closed or self._links is None or self._loop is not asyncio.get_running_loop()

    def close(self) -> list[grpc.aio.Channel]:
        """Take the channels of the running loop, to be closed."""
        links = None if self.closed else self._links
        self._closed = True
        return [] if links is None else links.close()

    def of_running_loop(self) -> AsyncLinks:
        """Give the links of the running event loop.

        Raises:
            RequestCancelledError: `close` was called.
            SettingsError: another loop uses them, or a parent of this process used gRPC's asyncio.
        """
        if self._closed:
            raise client_closed(self._url)
        loop = asyncio.get_running_loop()
        if self._links is None or self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise SettingsError(
                    f"{self._url}: expected the event loop in which this client was first "
                    "used, got another one beside it; make a client for each loop"
                )
            _uses.begin(self._url)
            self._links, self._loop = Links(self._make, self._url), loop
        return self._links


class _AsyncioUses:
    """Whether gRPC's asyncio was used by a parent of this process: it does not outlive a fork.

    Its one thread for all loops is gone then, requests would wait for ever, or end the process.
    """

    def __init__(self) -> None:
        self._begun = False
        self._lost = False
        begins_anew_after_fork(self)

    def forget_parent(self) -> None:
        self._lost = self._begun

    def begin(self, url: str) -> None:
        if self._lost:
            raise SettingsError(
                f"{url}: expected a process in which AsyncSlimSam can work, got one that was "
                "forked from a process that had used it, which gRPC's asyncio does not outlive; "
                "use AsyncSlimSam after the fork alone, make processes with multiprocessing's "
                "'spawn' or 'forkserver', or use SlimSam"
            )
        self._begun = True


_uses = _AsyncioUses()
