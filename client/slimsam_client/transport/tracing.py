"""OpenTelemetry: Triton continues the caller's trace, where opentelemetry-api is installed."""

from __future__ import annotations

try:
    from opentelemetry import propagate
except ImportError:
    propagate = None  # type: ignore[assignment]


def inject_context(headers: dict[str, str]) -> dict[str, str]:
    """Add the current trace context (W3C `traceparent`) to a request's headers.

    Triton takes it up with `--trace-config mode=opentelemetry`.
    """
    if propagate is not None:
        propagate.inject(headers)
    return headers
