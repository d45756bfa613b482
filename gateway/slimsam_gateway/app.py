"""The gateway's ASGI application: addresses, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TextIO

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from slimsam_client import AsyncSlimSam, SlimSamError
from slimsam_gateway import cvat
from slimsam_gateway.access import KeyCheck
from slimsam_gateway.admission import Admission
from slimsam_gateway.description import about, explanation, openapi
from slimsam_gateway.dialects import X_ANYLABELING
from slimsam_gateway.everything import everything
from slimsam_gateway.exchange import Exchange
from slimsam_gateway.health import Health
from slimsam_gateway.hosts import HostCheck
from slimsam_gateway.images import forget, upload
from slimsam_gateway.label_studio import LabelStudio
from slimsam_gateway.masks import click
from slimsam_gateway.metrics import Metrics
from slimsam_gateway.page_files import PREFIX, Page
from slimsam_gateway.problems import (
    CLOSED,
    INTERNAL,
    METHOD,
    NOT_FOUND,
    PATH,
    Problem,
    problem_of,
)
from slimsam_gateway.record import ID_HEADER, Recording, record_of, refused
from slimsam_gateway.settings import GatewaySettings
from slimsam_gateway.x_anylabeling import endpoints as x_anylabeling

Endpoint = Callable[[Request, Exchange], Awaitable[Response]]
PASSED_ON: Final[dict[tuple[str, str], Endpoint]] = {
    ("POST", "/v1/images"): upload,
    ("DELETE", "/v1/images/{image_id}"): forget,
    ("POST", "/v1/images/{image_id}/masks"): click,
    ("POST", "/v1/images/{image_id}/everything"): everything,
}
"""These requests come to the server."""
TOOLS: Final[dict[tuple[str, str], Endpoint]] = {
    ("GET", f"{X_ANYLABELING}/v1/models"): x_anylabeling.models,
    ("POST", f"{X_ANYLABELING}/v1/predict"): x_anylabeling.predict,
}
"""These are of annotation tools, in protocols of their own."""
CVAT: Final[dict[tuple[str, str], Endpoint]] = {
    ("GET", "/api/functions"): cvat.functions,
    ("GET", "/api/functions/{name}"): cvat.function,
    ("POST", "/api/function_invocations"): cvat.invocation,
}
"""So are these, which are there if the settings say so."""
PREFLIGHT_SECONDS: Final = 600


def create_app(
    settings: GatewaySettings, log: TextIO | None = None, metrics: Metrics | None = None
) -> ASGIApp:
    """Make a gateway.

    It connects with the first request, so the server may start later.

    Args:
        settings: what it is told.
        log: where the line of each request goes; standard output if it is None.
        metrics: what counts the requests; None makes one of its own.

    Raises:
        SettingsError: the server's address or a file of `tls` cannot be used.
    """
    # The seconds of requests are their own.
    sam = AsyncSlimSam(settings.url, settings.max_timeout, tls=settings.tls)
    admission = Admission(settings.max_requests, settings.max_active_bytes)
    exchange = Exchange(settings, sam, admission)
    metrics = metrics or Metrics()
    metrics.watch(admission)
    health = Health(settings)
    page = Page(settings.example)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sam:
            yield

    def answered(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await endpoint(request, exchange)

        return answer

    routes = [
        *(
            Route(path, answered(endpoint), methods=[method])
            for (method, path), endpoint in {
                **PASSED_ON,
                **TOOLS,
                **(CVAT if settings.cvat else {}),
            }.items()
        ),
        Route("/", page.response),
        Route(f"{PREFIX}{{name:path}}", page.response),
        Route("/health", health.response),
        Route(f"{X_ANYLABELING}/health", partial(x_anylabeling.healthy, health=health)),
        Route("/v1", _fixed("about", JSONResponse(about()))),
        Route("/v1/openapi.json", _fixed("about", JSONResponse(openapi(settings)))),
        Route(PATH, _fixed("about", HTMLResponse(explanation()))),
    ]
    if settings.label_studio is not None:
        routes += LabelStudio(settings.label_studio, exchange).routes
    if settings.metrics:
        routes.append(Route("/metrics", _counted(metrics)))
    routed = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            Problem: _answer_problem,
            SlimSamError: _answer_error,
            ClientDisconnect: _answer_nobody,
            HTTPException: _answer_status,
            Exception: _answer_failure,
        },
    )
    routed.router.redirect_slashes = False
    app: ASGIApp = routed
    if settings.keys is not None:
        app = KeyCheck(app, settings.keys)
    # Preflights carry no key, and pages read problems, too.
    app = CORSMiddleware(
        app,
        allow_origins=settings.origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "Traceparent", "Tracestate", ID_HEADER),
        expose_headers=("Retry-After", ID_HEADER),
        max_age=PREFLIGHT_SECONDS,
    )
    app = HostCheck(app, settings.hosts, settings.origins)
    return Recording(app, log, metrics.count)


def _fixed(kind: str, response: Response) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        record_of(request.scope).kind = kind
        return response

    return answer


def _counted(metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        record_of(request.scope).kind = "metrics"
        return metrics.response()

    return answer


async def _answer_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return refused(request.scope, problem)


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SlimSamError)
    problem = problem_of(error)
    if problem.kind.status >= 500:
        record_of(request.scope).error = f"{type(error).__name__}: {error}"
    return refused(request.scope, problem)


async def _answer_nobody(request: Request, error: Exception) -> Response:
    """End the request of a caller who has gone away, in the middle of the body or later."""
    return Response(status_code=CLOSED)


async def _answer_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = METHOD if error.status_code == METHOD.status else NOT_FOUND
    return refused(request.scope, Problem(kind, f"{kind.title}; {kind.advice}", error.headers))


async def _answer_failure(request: Request, error: Exception) -> Response:
    record_of(request.scope).error = type(error).__name__  # its traceback follows
    return refused(request.scope, Problem(INTERNAL, f"{INTERNAL.title}; {INTERNAL.advice}"))
