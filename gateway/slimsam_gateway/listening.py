"""How uvicorn serves the gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from slimsam_gateway.connections import BoundedProtocol

MAX_CONNECTIONS: Final = 512
"""So many connections are open at once; more are answered 503 by uvicorn, in plain text."""
GRACE_SECONDS: Final = 5
"""Requests under way may take so long when the gateway is stopped."""


def listening(app: ASGIApp, host: str, port: int, **options: Any) -> uvicorn.Config:
    """Give the settings of uvicorn.

    Args:
        app: the gateway.
        host: where it listens.
        port: 0 takes a free one.
        options: further settings of uvicorn.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="asyncio",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )


@contextmanager
def running_beside(config: uvicorn.Config) -> Iterator[uvicorn.Server]:
    """Run a further server, until the context ends, in a thread, which takes no signals.

    Whether it has started, its `started` says; why it has not, uvicorn has logged.
    """
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            thread.join(0.01)
        yield server
    finally:
        server.should_exit = True
        thread.join()
