"""A gRPC call in HTTP/2 frames made by hand, for headers that no client of gRPC would send."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Of RFC 9113, section 4.1."""
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def literal(name: str, value: str) -> bytes:
    """A header as it is, without Huffman's code (RFC 7541, section 6.2.2)."""
    return b"\0" + text(name) + text(value)


def text(value: str) -> bytes:
    """A string after its length, which takes seven bits and then as many as it needs."""
    left = len(value) - 127
    length = bytes((len(value) if left < 0 else 127,))
    while left >= 0:
        length += bytes((left % 128 + 128 * (left >= 128),))
        left = left // 128 or -1
    return length + value.encode()


def has_answer(connection: socket.socket, method: str, headers: Mapping[str, str]) -> bool:
    """Send an empty message to a method of Triton's service, with further or other headers.

    Returns:
        Whether an answer with a message came; else the call or its connection was ended.
    """
    block = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/inference.GRPCInferenceService/{method}",
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **headers,
    }
    connection.sendall(
        PREFACE
        + frame(SETTINGS, 0, 0, b"")
        + frame(HEADERS, END_HEADERS, 1, b"".join(literal(*header) for header in block.items()))
        + frame(DATA, END_STREAM, 1, bytes(5))
    )
    with connection.makefile("rb") as received:
        while len(head := received.read(9)) == 9:
            kind, flags = head[3], head[4]
            payload = received.read(int.from_bytes(head[:3], "big"))
            if kind == DATA and payload:
                return True
            if kind in (RST_STREAM, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
                return False
    return False
