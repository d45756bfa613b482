"""A proxy before an object store that fails at some requests, before they are done or after."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}


@dataclass
class FailingStore:
    """A proxy that runs on loopback.

    Attributes:
        port: where.
        behind: the port of the store.
        share: the share of the requests that fail: in turn it says 503, says 500 when the request
            is done, and says nothing when the request is done, so that its answer is lost.
        passed: requests that went well.
        failed: how often it has failed in each way.
    """

    port: int
    behind: int
    share: float
    passed: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def way(self) -> str | None:
        """How the next request fails; None if it does not."""
        with self.lock:
            if self.dice.random() >= self.share:
                self.passed += 1
                return None
            found = ["503", "500 afterwards", "dropped afterwards"][self.failed.total() % 3]
            self.failed[found] += 1
            return found


@contextmanager
def failing_store(behind: int, share: float) -> Iterator[FailingStore]:
    """Run a proxy before the store at a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            way = proxy.way()
            if way == "503":
                return self.say(503, b"<Error><Code>SlowDown</Code></Error>")
            status, headers, content = forward(self, body, proxy.behind)
            if way == "500 afterwards":
                return self.say(500, b"<Error><Code>InternalError</Code></Error>")
            if way == "dropped afterwards":
                self.close_connection = True
                return None
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            length = dict(headers).get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return None

        def say(self, status: int, content: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A worker that is killed leaves its connections."""

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy = FailingStore(server.server_address[1], behind, share)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def forward(
    handler: BaseHTTPRequestHandler, body: bytes, port: int
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Have the store answer; the host that was asked stays in the request, for it is signed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(
            handler.command, handler.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in handler.headers.items():
            if name.lower() != "connection":
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()
