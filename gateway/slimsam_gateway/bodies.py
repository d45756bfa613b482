"""The body of a request: read up to a limit of bytes, and within a time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from slimsam_client.quoting import quoted_value
from slimsam_gateway.admission import Take
from slimsam_gateway.problems import CONTENT, MEDIA, SLOW_UPLOAD, Problem


async def read_body(
    request: Request, max_bytes: int, seconds: float, advice: str, take: Take
) -> bytes:
    """Read a body; more than the limit is never in memory.

    Args:
        request: the request.
        max_bytes: a body that says beforehand that it is longer is not read at all.
        seconds: how long it may take to come.
        advice: what to do about one that is longer.
        take: takes room for it before it is read; for the most, if it does not say its length.

    Raises:
        Problem: it is longer, slower, or of another form, or there is no room.
        ClientDisconnect: the caller has gone away.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        coding = quoted_value(request.headers["content-encoding"])
        raise Problem(MEDIA, f"Content-Encoding: expected none, got {coding}; send the body as is")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Problem(
            MEDIA,
            "Content-Type: expected the file or the JSON as the body itself, got a form; "
            "curl sends it by --data-binary @FILE, and fetch as its body",
        )
    stated = request.headers.get("content-length", "")
    length = int(stated[:20]) if stated.isdecimal() else 0
    if length > max_bytes:
        raise _too_large(max_bytes, advice)
    # In chunks it may be of any length, whatever is stated.
    take(max_bytes if "transfer-encoding" in request.headers else length)
    try:
        return await asyncio.wait_for(_collected(request, max_bytes, advice), seconds)
    except asyncio.TimeoutError:
        raise Problem(
            SLOW_UPLOAD,
            f"body: expected all of it within the timeout of {seconds:g} s, got a part",
            # What is still to come would be taken for the next request.
            {"Connection": "close"},
        ) from None


async def _collected(request: Request, max_bytes: int, advice: str) -> bytes:
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes, advice)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(max_bytes: int, advice: str) -> Problem:
    return Problem(CONTENT, f"body: expected at most {max_bytes:,} bytes, got more; {advice}")
