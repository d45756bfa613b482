"""Access by keys: whose key a request carries."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from slimsam_gateway.dialects import X_ANYLABELING, dialect_of
from slimsam_gateway.keys import KeyRing
from slimsam_gateway.label_studio import WEBHOOK
from slimsam_gateway.page_files import is_page
from slimsam_gateway.problems import PATH
from slimsam_gateway.record import record_of, refused

OPEN: Final = ("/health", "/v1", "/v1/openapi.json", PATH, WEBHOOK, f"{X_ANYLABELING}/health")
"""These addresses need no key, and those of the page: they tell what the gateway is, and nothing of
its users."""


class KeyCheck:
    """Refuses requests without a key, before anything of their bodies is read.

    Args:
        app: what answers the others.
        keys: the keys.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["path"] in OPEN or is_page(scope["path"]):
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        dialect = dialect_of(scope["path"])
        key = dialect.key_of(headers)
        name = None if key is None else self._keys.name_of(key)
        if name is None:
            problem = dialect.unauthorized(headers)
            return await refused(scope, problem)(scope, receive, send)
        record_of(scope).key = name
        await self._app(scope, receive, send)
