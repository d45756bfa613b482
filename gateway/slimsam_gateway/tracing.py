"""Traces: the caller's trace context goes on to the server (W3C Trace Context)."""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers

_PARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_STATE: Final = re.compile(r"[!-~][ -~]{0,511}")


def trace_context(headers: Headers) -> dict[str, str]:
    """Give the gRPC metadata that continue a request's trace; a broken one is left out."""
    parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    if not _PARENT.fullmatch(parent):
        return {}
    return {"traceparent": parent, **({"tracestate": state} if _STATE.fullmatch(state) else {})}
