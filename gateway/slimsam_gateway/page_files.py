"""`/` and `/page/`: the page to click in, as files of this package."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from slimsam_client import SettingsError
from slimsam_client.quoting import quoted_value
from slimsam_gateway.record import record_of

DIRECTORY: Final = Path(__file__).parent / "page"
PREFIX: Final = "/page/"
INDEX: Final = "index.html"
EXAMPLE: Final = "example"
"""The address of the example, from which browsers are led to that with the file's name."""
TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
HEADERS: Final = {
    # Nothing comes from elsewhere, and nothing goes there; pictures that are opened are blobs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    # Modules of two versions do not fit together, so browsers ask whether theirs is the newest.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: its bytes.
        media_type: what it is.
    """

    content: bytes
    media_type: str

    @property
    def etag(self) -> str:
        """The version that a browser may have."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


class Page:
    """Answers with the page's files, which are read once: no path leads to another file.

    Args:
        example: the picture that the page offers; None is a drawn scene.

    Raises:
        SettingsError: it cannot be read.
    """

    def __init__(self, example: Path | None = None) -> None:
        self._files = {
            path.relative_to(DIRECTORY).as_posix(): PageFile(path.read_bytes(), TYPES[path.suffix])
            for path in DIRECTORY.rglob("*")
            if path.suffix in TYPES
        }
        self._example = "scene.webp"
        if example is not None:
            self._example = f"{EXAMPLE}/{example.name}"
            self._files[self._example] = _picture(example)

    async def response(self, request: Request) -> Response:
        """Answer with the file of an address.

        Raises:
            HTTPException: there is none.
        """
        record_of(request.scope).kind = "page"
        name = request.path_params.get("name", INDEX)
        if name == EXAMPLE:
            return RedirectResponse(quote(self._example), headers=HEADERS)
        found = self._files.get(name)
        if found is None:
            raise HTTPException(404)
        headers = {**HEADERS, "ETag": found.etag}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers=headers, media_type=found.media_type)


def _picture(path: Path) -> PageFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"example: expected a file that can be read, got {quoted_value(str(path))}: "
            f"{error.strerror}"
        ) from error
    return PageFile(content, mimetypes.guess_type(path.name)[0] or "application/octet-stream")


def is_page(path: str) -> bool:
    """Whether an address is one of the page's."""
    return path == "/" or path.startswith(PREFIX)
