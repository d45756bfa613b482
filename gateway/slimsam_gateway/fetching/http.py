"""One request of HTTP/1.1, to an IP address that was looked up before.

Whoever checks where a name leads has to connect to what was checked: a second look-up may give
something else (DNS rebinding). So connections are made here, and by address.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import h11

from slimsam_gateway.admission import SMALL_BYTES, Take
from slimsam_gateway.fetching.origins import Address

_CHUNK = 2**16


class TooLong(Exception):
    """A body is longer than it may be."""


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        status: the HTTP status.
        headers: by names in lower case; of several of a name the last.
        body: the content; empty unless the status is 200.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


async def exchange(
    address: Address,
    hosts: Sequence[str],
    headers: Mapping[str, str],
    max_bytes: int,
    secure: ssl.SSLContext | None,
    content: bytes | None = None,
    take: Take | None = None,
) -> Answer:
    """Send a request and read its answer; cancelling it closes the connection.

    Args:
        address: what is asked for.
        hosts: IP addresses of its host, which are tried in turn.
        headers: beside those of the connection.
        max_bytes: how long the answer's body may be.
        secure: whom https trusts; not used for http.
        content: the body of a POST; None is a GET.
        take: takes room for the answer's body before it is read, or as it comes where its length is
            not said; None where it is small.

    Raises:
        OSError: nothing answers, or its certificate is not trusted.
        h11.ProtocolError: the answer is no HTTP, or ends too early.
        TooLong: the body is longer.
        Problem: there is no room.
    """
    reader, writer = await _connect(address, hosts, secure)
    try:
        connection = h11.Connection(h11.CLIENT)
        fixed = {
            "Host": address.authority,
            "Connection": "close",
            # A few bytes of a compressed body may become any number.
            "Accept-Encoding": "identity",
        }
        if content is not None:
            fixed["Content-Length"] = str(len(content))
        head = h11.Request(
            method="GET" if content is None else "POST",
            target=address.target,
            headers=list({**fixed, **headers}.items()),
        )
        sent = connection.send(head) or b""
        if content is not None:
            sent += connection.send(h11.Data(content)) or b""
        writer.write(sent + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        return await _read(connection, reader, max_bytes, take)
    finally:
        writer.transport.abort()  # what is still to come is not waited for


async def _connect(
    address: Address, hosts: Sequence[str], secure: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.scheme == "http":
        secure = None
    # The name is what the certificate is to be of, and the address what was checked.
    name = address.host if secure is not None else None
    failure = OSError("it has no address")
    for host in hosts:
        try:
            return await asyncio.open_connection(
                host, address.port, ssl=secure, server_hostname=name
            )
        except OSError as error:
            failure = error
    raise failure


async def _read(
    connection: h11.Connection, reader: asyncio.StreamReader, max_bytes: int, take: Take | None
) -> Answer:
    status, headers, body = 0, dict[str, str](), bytearray()
    taken = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers
            }
            if status != 200:
                break
            stated = headers.get("content-length", "")
            length = int(stated[:20]) if stated.isdecimal() else max_bytes
            if length > max_bytes:
                raise TooLong
            if take is not None and stated.isdecimal() and "transfer-encoding" not in headers:
                take(length)
                taken = max_bytes
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise TooLong
            # Of a body that does not say its length, as it comes.
            if take is not None and len(body) - taken > SMALL_BYTES:
                take(len(body) - taken)
                taken = len(body)
        elif isinstance(event, h11.EndOfMessage):
            break
    return Answer(status, headers, bytes(body))
