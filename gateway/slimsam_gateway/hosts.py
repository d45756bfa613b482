"""Who is spoken to, and which pages speak: the headers Host and Origin.

A page of any site can have its own name lead to this machine (DNS rebinding), and then read from
its browser what the gateway answers. Such requests name that site's host. And a page may post to
other origins without being allowed to read what they answer, so origins are looked at, too.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from slimsam_client.quoting import quoted_value
from slimsam_gateway.problems import HOST, ORIGIN, Problem
from slimsam_gateway.record import refused
from slimsam_gateway.settings import ANY, LOOPBACK

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::\d{1,5})?")


class HostCheck:
    """Refuses requests to other hosts, and from pages of other origins.

    Args:
        app: what answers the others.
        hosts: names beside those of loopback.
        origins: origins beside the gateway's own.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = frozenset((*LOOPBACK, *hosts))
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        problem = self._problem(Headers(scope=scope)) if scope["type"] == "http" else None
        app = self._app if problem is None else refused(scope, problem)
        await app(scope, receive, send)

    def _problem(self, headers: Headers) -> Problem | None:
        host = headers.get("host", "").lower()
        match = _HOST.fullmatch(host)
        if ANY not in self._hosts and (match is None or match[1] not in self._hosts):
            return Problem(HOST, f"Host: expected a name of this gateway, got {quoted_value(host)}")
        origin = headers.get("origin")
        if origin is None or {ANY, origin} & self._origins:
            return None
        # A proxy before the gateway may have taken TLS off, so the scheme is not compared.
        if host and origin.lower().rpartition("://")[2] == host:
            return None
        return Problem(
            ORIGIN,
            f"Origin: expected this gateway's or one that is allowed, got {quoted_value(origin)}",
        )
