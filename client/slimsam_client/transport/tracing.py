"""OpenTelemetry, where opentelemetry-api is installed: a span of each operation; Triton joins it.

Without its SDK, spans cost nothing and record nothing, and the caller's own context goes along.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from slimsam_client.version import __version__

try:
    from opentelemetry import propagate, trace
except ImportError:
    propagate = trace = None  # type: ignore[assignment]


def inject_context(headers: dict[str, str]) -> dict[str, str]:
    """Give a request's headers with the current trace context (W3C `traceparent`) among them.

    Triton takes it up with `--trace-config mode=opentelemetry`. Other propagators may be set up; of
    their headers' names some have capitals, which gRPC refuses.
    """
    if propagate is None:
        return headers
    context: dict[str, str] = {}
    propagate.inject(context)
    return {**headers, **{name.lower(): value for name, value in context.items()}}


@contextmanager
def operation_span(
    operation: Generator[Any, Any, Any], url: str, request_id: str | None
) -> Iterator[None]:
    """Have a span of an operation be the current one; an error that leaves it is noted there.

    Args:
        operation: it names the span: `slimsam predict`.
        url: address of the server.
        request_id: the id that the user gave its requests, if there is one.
    """
    if trace is None:
        yield
        return
    attributes = {"server.address": url}
    if request_id:
        attributes["slimsam.request_id"] = request_id
    # An error's text may have what the user sent, so its type is all that is noted.
    with trace.get_tracer("slimsam_client", __version__).start_as_current_span(
        f"slimsam {getattr(operation, '__name__', 'call').strip('_')}",
        kind=trace.SpanKind.CLIENT,
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
