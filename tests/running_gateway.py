"""A gateway on a real socket before a fake server, and the lines that it writes."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import uvicorn
from PIL import Image, ImageDraw
from skimage import data
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from slimsam_gateway import GatewaySettings, create_app
from slimsam_gateway.admission import SMALL_BYTES
from slimsam_gateway.listening import listening

PATIENCE = 60.0


class Log(io.TextIOBase):
    """What the gateway writes."""

    def __init__(self) -> None:
        self._text = ""

    def write(self, text: str) -> int:
        self._text += text
        return len(text)

    @property
    def text(self) -> str:
        return self._text

    def line_of(self, request_id: str) -> dict[str, Any]:
        """Wait for the line of a request: it comes when the answer has gone."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            lines = map(json.loads, self._text.splitlines(keepends=False))
            found[:] = [line for line in lines if line["id"] == request_id]
            return bool(found)

        wait_for(there)
        (line,) = found
        return line


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs.

    Attributes:
        http: a client of it.
        log: its lines.
        server: uvicorn's.
    """

    http: httpx2.Client
    log: Log
    server: uvicorn.Server

    @property
    def address(self) -> tuple[str, int]:
        port = self.http.base_url.port
        assert port is not None
        return self.http.base_url.host, port

    def send(self, request: bytes) -> socket.socket:
        """Send bytes, as no client of HTTP would."""
        connection = socket.create_connection(self.address, timeout=PATIENCE)
        connection.sendall(request)
        return connection

    def upload(self, picture: bytes) -> str:
        """Upload a picture and give its id."""
        answer = self.http.post("/v1/images", content=picture)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def problem(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Ask for something that is answered by a problem, and give it."""
        answer = self.http.request(method, path, **request)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        problem: dict[str, Any] = answer.json()
        assert set(problem) == {"type", "title", "status", "detail"}
        assert problem["status"] == answer.status_code
        assert problem["type"].startswith("/v1/problems#")
        assert self.log.line_of(answer.headers["x-request-id"])["problem"] == kind(problem)
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "2"
        return problem


def kind(problem: dict[str, Any]) -> str:
    return str(problem["type"]).rpartition("#")[2]


def posting(path: str, length: int, *more: str) -> bytes:
    """The head of a request."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *more]
    return "\r\n".join([*head, "", ""]).encode()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def serving(
    settings: GatewaySettings, asked: list[tuple[str, Headers]] | None = None, port: int = 0
) -> Iterator[Gateway]:
    """Serve as the command does, in a thread.

    Args:
        settings: the gateway's.
        asked: gets the method with the path, and the headers, of each request.
        port: where; 0 takes a free one.
    """
    log = Log()
    app: ASGIApp = create_app(settings, log)
    if asked is not None:
        app = _noting(app, asked)
    config = listening(app, "127.0.0.1", port, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http:
            yield Gateway(http, log, server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def _noting(app: ASGIApp, asked: list[tuple[str, Headers]]) -> ASGIApp:
    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked.append((f"{scope['method']} {scope['path']}", Headers(scope=scope)))
        await app(scope, receive, send)

    return note


def drawn() -> Image.Image:
    image = Image.new("RGB", (320, 240), (30, 60, 30))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 40, 140, 140), fill=(220, 30, 30))
    draw.rectangle((200, 60, 300, 200), fill=(30, 30, 220))
    return image


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def turned() -> bytes:
    """A JPEG of a phone that was held upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(np.rot90(data.chelsea()[:299, :447])), "JPEG", exif=exif)


TIMES_HELD = 4
"""A gateway holds at most so many times the bytes that a request brings (docs/gateway.md)."""
IDLE_MIB = 200
"""A gateway that has nothing to do holds less."""


def most_mib(settings: GatewaySettings) -> float:
    """How much memory a gateway's requests may take, with its own."""
    small = settings.max_requests * SMALL_BYTES
    return IDLE_MIB + TIMES_HELD * (settings.max_active_bytes + small) / 2**20
