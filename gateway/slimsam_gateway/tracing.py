"""Traces: a request's goes on in the client and the server (W3C Trace Context).

Where opentelemetry-api is installed, the gateway has a span of its own between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request

from slimsam_gateway.record import Record

try:
    from opentelemetry import propagate, trace
except ImportError:
    propagate = trace = None  # type: ignore[assignment]

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


@contextmanager
def request_span(request: Request, record: Record) -> Iterator[None]:
    """Have a span of a request be the current one, in the caller's trace if it names one.

    No picture, prompt, key or id of a picture is in it, as in the record's line.
    """
    if trace is None or propagate is None:
        yield
        return
    attributes = {"http.request.method": request.method, "slimsam.request_id": record.id}
    with trace.get_tracer("slimsam_gateway").start_as_current_span(
        f"slimsam-gateway {record.kind}",
        context=propagate.extract(trace_context(request.headers)),
        kind=trace.SpanKind.SERVER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise
