"""One request that is passed on: its place, its body, its time, and the server's answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from slimsam_client import AsyncSlimSam
from slimsam_client.relay import Relay
from slimsam_gateway.admission import Admission
from slimsam_gateway.bodies import read_body
from slimsam_gateway.problems import TIMEOUT, Problem
from slimsam_gateway.queries import seconds_of
from slimsam_gateway.record import record_of
from slimsam_gateway.settings import GatewaySettings
from slimsam_gateway.tracing import request_span, trace_context
from slimsam_gateway.waiting import while_awaited

GRACE_SECONDS: Final = 1.0
"""The client ends in time by itself, and then says why: a little later, where it has to ask."""

Ask = Callable[[Relay, bytes], Coroutine[Any, Any, Any]]
"""What is asked of the server with a request's body; it gives what becomes the answer's JSON, or
that JSON itself as bytes."""


@dataclass(frozen=True)
class Exchange:
    """How requests are passed on.

    Attributes:
        settings: the gateway's.
        sam: the client that all requests share.
        admission: how many are under way.
    """

    settings: GatewaySettings
    sam: AsyncSlimSam
    admission: Admission

    async def answer(
        self,
        request: Request,
        ask: Ask,
        max_bytes: int,
        advice: str,
        seconds: float | None = None,
        status: int = 200,
    ) -> Response:
        """Read a request's body, ask, and give the answer.

        Args:
            request: the request.
            ask: what is asked.
            max_bytes: how long the body may be.
            advice: what to do about one that is longer.
            seconds: how long all of it may take, if the query does not say; None is the settings'
                timeout.
            status: the HTTP status if all is well.

        Raises:
            Problem: the body or the query is wrong, there is no place or room, or time is up.
            SlimSamError: as the client has it.
            ClientDisconnect: the caller has gone away.
        """
        record = record_of(request.scope)
        limits = self.settings
        allowed = seconds_of(request.query_params, seconds or limits.timeout, limits.max_timeout)
        with (
            request_span(request, record),
            self.admission.place(),
            self.admission.room() as take,
        ):
            end = time.monotonic() + allowed
            body = await read_body(request, max_bytes, allowed, advice, take)
            record.bytes, record.received = len(body), time.monotonic()
            left = end - record.received
            if left <= 0:
                raise Problem(TIMEOUT, f"{TIMEOUT.title}; {TIMEOUT.advice}")
            headers = {**limits.headers, **trace_context(request.headers)}
            sam = self.sam.with_options(timeout=left, headers=headers, request_id=record.id)
            work = _encoded(ask(Relay(sam), body))
            answer = await while_awaited(request, work, left + GRACE_SECONDS)
        if status == 204:
            return Response(status_code=status)
        return Response(answer, status, media_type="application/json")


async def _encoded(answer: Coroutine[Any, Any, Any]) -> bytes:
    """Write an answer as JSON, in a thread: masks of many megabytes are among them."""
    content = await answer
    if isinstance(content, bytes):
        return content

    def write() -> bytes:
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()

    return await asyncio.to_thread(write)
