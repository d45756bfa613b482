"""Thousands of large requests at once, of which the sender keeps one copy.

A client of gRPC copies each message when its call begins: 5,000 of 2 MB would take more memory here
than they are to take of the server. So these are HTTP/2 frames made by hand, sent as the windows of
the other side allow (RFC 9113, section 5.2), every stream of a connection in its turn.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from raw_http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    literal,
)

PING, WINDOW_UPDATE = 6, 8
ACK: Final = 1
INITIAL_WINDOW_SIZE: Final = 4
"""The setting's number."""
MOST: Final = 2**31 - 1
FRAME: Final = 16384


@dataclass
class _Stream:
    window: int
    sent: int = 0
    answered: bool = False


@dataclass
class _Sender:
    """The requests of one connection."""

    body: memoryview
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    window: int = 65535
    initial: int = 65535
    streams: dict[int, _Stream] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self) -> None:
        """Send what may be sent, a frame of each stream by turns."""
        while self.streams:
            sent = False
            for number, stream in list(self.streams.items()):
                rest = len(self.body) - stream.sent
                length = min(rest, stream.window, self.window, FRAME)
                if length <= 0:
                    continue
                piece = self.body[stream.sent : stream.sent + length]
                stream.sent += length
                stream.window -= length
                self.window -= length
                last = END_STREAM if length == rest else 0
                self.writer.write(frame(DATA, last, number, piece.tobytes()))
                sent = True
            await self.writer.drain()
            if not sent:
                self.changed.clear()
                await self.changed.wait()

    async def receive(self) -> None:
        """Follow the other side until every request has ended."""
        while self.streams:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, number = head[3], head[4], int.from_bytes(head[5:], "big")
            stream = self.streams.get(number)
            if kind == SETTINGS and not flags & ACK:
                self._set(payload)
                self.writer.write(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.writer.write(frame(PING, ACK, 0, payload))
            elif kind == WINDOW_UPDATE:
                more = int.from_bytes(payload, "big")
                if number == 0:
                    self.window += more
                elif stream is not None:
                    stream.window += more
            elif kind == GOAWAY:
                raise ConnectionResetError("GOAWAY")
            elif stream is not None:
                stream.answered |= kind == DATA and len(payload) > 0
                if kind == RST_STREAM:
                    self.ends["reset"] += 1
                    del self.streams[number]
                elif flags & END_STREAM:
                    self.ends["answered" if stream.answered else "refused"] += 1
                    del self.streams[number]
            self.changed.set()

    def _set(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            name, value = (
                int.from_bytes(payload[at + start : at + end], "big")
                for start, end in ((0, 2), (2, 6))
            )
            if name == INITIAL_WINDOW_SIZE:
                for stream in self.streams.values():
                    stream.window += value - self.initial
                self.initial = value


async def send_at_once(
    url: str,
    message: bytes,
    headers: Sequence[Mapping[str, str]],
    each: int,
    tls: ssl.SSLContext | None = None,
) -> Counter[str]:
    """Send requests to ModelInfer, all at once.

    Args:
        url: host:port.
        message: the same for all.
        headers: further headers, of the requests of one connection each.
        each: requests of a connection.
        tls: None for a connection in plain text.

    Returns:
        How many were answered, refused (they ended by a status, without an answer), reset (they
        ended by RST_STREAM), or broken with their connection.
    """
    host, port = url.rsplit(":", 1)
    body = memoryview(b"\0" + len(message).to_bytes(4, "big") + message)
    every = await asyncio.gather(
        *(_connection(host, int(port), body, own, each, tls) for own in headers)
    )
    return sum(every, Counter())


async def _connection(
    host: str,
    port: int,
    body: memoryview,
    headers: Mapping[str, str],
    each: int,
    tls: ssl.SSLContext | None,
) -> Counter[str]:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    fields = {
        ":method": "POST",
        ":scheme": "https" if tls else "http",
        ":path": "/inference.GRPCInferenceService/ModelInfer",
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **headers,
    }
    block = b"".join(literal(*item) for item in fields.items())
    setting = INITIAL_WINDOW_SIZE.to_bytes(2, "big") + MOST.to_bytes(4, "big")
    wide = (MOST - 65535).to_bytes(4, "big")
    writer.write(PREFACE + frame(SETTINGS, 0, 0, setting) + frame(WINDOW_UPDATE, 0, 0, wide))
    sender = _Sender(body, reader, writer)
    for number in range(1, 2 * each, 2):
        writer.write(frame(HEADERS, END_HEADERS, number, block))
        sender.streams[number] = _Stream(sender.initial)
    sending = asyncio.create_task(sender.send())
    try:
        await sender.receive()
    except (ConnectionError, asyncio.IncompleteReadError):
        sender.ends["broken"] += len(sender.streams)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return sender.ends
