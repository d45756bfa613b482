"""Connections that bring no request: closed after a while, so that they fill no gateway."""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
"""A request's head may take so long, and so may the rest of a body that was refused."""


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for ever for the second half of a head."""

    _ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes, and look whether it is of a request that is to be answered."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE or self._is_refused():
            self._watch()
        else:
            self._unwatch()

    def _is_refused(self) -> bool:
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and self.conn.their_state is h11.SEND_BODY

    def _watch(self) -> None:
        if self._ending is None and not self.transport.is_closing():
            self._ending = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unwatch(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
