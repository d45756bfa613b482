"""Access by keys: whose key a request carries."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from slimsam_gateway.keys import KeyRing
from slimsam_gateway.label_studio import PREFIX, WEBHOOK
from slimsam_gateway.page_files import is_page
from slimsam_gateway.problems import PATH, UNAUTHORIZED, Problem
from slimsam_gateway.record import record_of, refused

OPEN: Final = ("/health", "/v1", "/v1/openapi.json", PATH, WEBHOOK)
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
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == "basic" and scope["path"].startswith(f"{PREFIX}/"):
            scheme, token = "bearer", _password(token)
        name = self._keys.name_of(token.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            expected = "Authorization: expected Bearer and a key that is known, got "
            problem = Problem(
                UNAUTHORIZED,
                expected + ("another" if scheme else "none"),
                {"WWW-Authenticate": "Bearer"},
            )
            return await refused(scope, problem)(scope, receive, send)
        record_of(scope).key = name
        await self._app(scope, receive, send)


def _password(token: str) -> str:
    """Give the password of Basic, which is all that Label Studio can send of a key.

    Whose key it is the key says, so the user's name may be anything.
    """
    try:
        return base64.b64decode(token).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
