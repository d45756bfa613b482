"""A site that has pictures, as Label Studio and the storage beside it have, and sees who asks."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Handler = BaseHTTPRequestHandler


@dataclass
class Site:
    """A site that runs on loopback.

    Attributes:
        port: where.
        pages: what answers each path.
        asked: the path and the headers, by names in lower case, of each request.
        ending: set when the site ends, for pages that wait.
    """

    port: int
    pages: dict[str, Callable[[Handler], None]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def by_name(self) -> str:
        """The same site by a name."""
        return f"http://localhost:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def serve(self, path: str, content: bytes, etag: str | None = None, **headers: str) -> None:
        """Have a path answer a picture, which is not sent again to who knows its etag."""

        def page(handler: Handler) -> None:
            if etag is not None and handler.headers.get("If-None-Match") == etag:
                return reply(handler, 304, b"", ETag=etag)
            tag = {} if etag is None else {"ETag": etag}
            reply(handler, 200, content, **{"Content_Type": "image/png", **tag, **headers})

        self.pages[path] = page

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        """Have a path lead elsewhere."""
        self.pages[path] = lambda handler: reply(handler, status, b"", Location=to)


def reply(handler: Handler, status: int, content: bytes, **headers: str) -> None:
    """Answer."""
    handler.send_response(status)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in {"Content-Length": str(len(content)), **named}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def picture_site(secure: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Run a site; `secure` has it speak TLS."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            with contextlib.suppress(OSError):  # whoever asked has left
                page = site.pages.get(self.path)
                if page is None:
                    reply(self, 404, b"")
                else:
                    page(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        if secure is not None:
            server.socket = secure.wrap_socket(server.socket, server_side=True)
        site = Site(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            site.ending.set()
            server.shutdown()
            thread.join()
