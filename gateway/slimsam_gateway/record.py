"""One structured line for each request: who asked for what, and how long it took.

No picture, no prompt, no key and no id of a picture is in it, since who has that id may click on
the picture.
"""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Final, TextIO

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slimsam_gateway.dialects import dialect_of
from slimsam_gateway.problems import CLOSED, Problem

ID_HEADER: Final = "X-Request-ID"
_ID: Final = re.compile(r"[0-9A-Za-z._-]{1,64}")
_PLACE: Final = "slimsam.record"


class Record:
    """What is known of a request.

    Attributes:
        id: the caller's X-Request-ID, if it is of at most 64 letters, digits, '.', '_' and '-', or
            else one that is made up; the server's log has it, too.
        key: the name of the key; None where there is none.
        kind: what was asked for, such as "upload" or "click"; "other" if it came to nothing.
        problem: the name of the problem's kind; None if there was none.
        status: the HTTP status.
        bytes: bytes of the body that were read.
        received: seconds of time.monotonic when the body was there; None if it was not read.
        error: what the operator is to know; None if all is well.
    """

    def __init__(self, given: str | None) -> None:
        self.id = given if given and _ID.fullmatch(given) else uuid.uuid4().hex
        self.key: str | None = None
        self.kind = "other"
        self.problem: str | None = None
        self.status = CLOSED
        self.bytes = 0
        self.received: float | None = None
        self.error: str | None = None
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the request's head came."""
        return time.monotonic() - self._start

    def line(self) -> str:
        """Give the line."""
        arrived = None if self.received is None else _milliseconds(self.received - self._start)
        content: dict[str, Any] = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "id": self.id,
            "key": self.key,
            "kind": self.kind,
            "status": self.status,
            "problem": self.problem,
            "bytes": self.bytes,
            "received_ms": arrived,
            "total_ms": _milliseconds(self.seconds),
        }
        if self.error is not None:
            content["error"] = self.error
        return json.dumps(content)


def record_of(scope: Scope) -> Record:
    """Give a request's record."""
    record: Record = scope[_PLACE]
    return record


def refused(scope: Scope, problem: Problem) -> Response:
    """Give the answer of a problem in the address's form, and have the record name its kind."""
    record_of(scope).problem = problem.kind.name
    return dialect_of(scope["path"]).refusal(problem)


class Recording:
    """Makes a record of each request, and writes its line when the answer has gone.

    Args:
        app: what answers.
        stream: where lines go; standard output if it is None.
        done: called with each record at its end.
    """

    def __init__(
        self, app: ASGIApp, stream: TextIO | None, done: Callable[[Record], object]
    ) -> None:
        self._app, self._stream, self._done = app, stream, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        record = scope[_PLACE] = Record(Headers(scope=scope).get(ID_HEADER))

        async def recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[ID_HEADER] = record.id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, recorded)
        finally:
            self._done(record)
            self._write(record.line())

    def _write(self, line: str) -> None:
        try:
            print(line, file=self._stream or sys.stdout, flush=True)
        except (OSError, ValueError):  # whoever read the log has ended, which ends no request
            pass


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)
