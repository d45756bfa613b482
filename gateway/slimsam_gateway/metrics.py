"""Metrics in Prometheus' text, of this gateway alone: the server has its own."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from slimsam_gateway.admission import Admission
from slimsam_gateway.record import Record

PATH: Final = "/metrics"
SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """Counts requests. Labels have few values, whatever callers send."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "slimsam_gateway_requests",
            "Requests by what was asked for and the answer's status; 499 is a caller who left.",
            ("kind", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "slimsam_gateway_request_seconds",
            "Seconds from a request's head to its answer's end.",
            ("kind",),
            registry=self._registry,
            buckets=SECONDS,
        )
        self._received = Counter(
            "slimsam_gateway_received_bytes",
            "Bytes of bodies that were read.",
            ("kind",),
            registry=self._registry,
        )
        self._active = Gauge(
            "slimsam_gateway_active_requests",
            "Pictures and clicks that are under way.",
            registry=self._registry,
        )
        self._active_bytes = Gauge(
            "slimsam_gateway_active_bytes",
            "Bytes that those have brought which have more than a mebibyte.",
            registry=self._registry,
        )

    def watch(self, admission: Admission) -> None:
        """Tell what is under way, too."""
        self._active.set_function(lambda: admission.active)
        self._active_bytes.set_function(lambda: admission.active_bytes)

    def count(self, record: Record) -> None:
        """Count a request that has ended."""
        self._requests.labels(record.kind, str(record.status)).inc()
        self._seconds.labels(record.kind).observe(record.seconds)
        self._received.labels(record.kind).inc(record.bytes)

    def response(self) -> Response:
        """Give the text."""
        text = generate_latest(self._registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    def app(self) -> ASGIApp:
        """Make an application that has the text at /metrics and nothing else, for whoever asks."""

        async def answer(_: Request) -> Response:
            return self.response()

        app = Starlette(routes=[Route(PATH, answer)])
        app.router.redirect_slashes = False
        return app
