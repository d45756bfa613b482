"""How uvicorn serves the gateway."""

from __future__ import annotations

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
