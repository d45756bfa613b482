"""A DNS server whose answers a test changes, as those of a headless service change."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

A: Final = 1
ANSWER: Final = 0x8580
"""Flags: a response, authoritative, recursion desired and available, no error."""


class NameServer:
    """Answers every question for addresses by the same ones.

    Attributes:
        address: host:port that it listens at.
        addresses: what it answers, in IPv4; may be changed at any time.
        questions: how often it was asked.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._socket.getsockname())
        self.addresses: list[str] = []
        self.questions = 0

    def serve(self) -> None:
        """Answer until the socket is closed."""
        while True:
            try:
                message, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            if not message:  # so a shutdown wakes it
                return
            self._socket.sendto(self._answer(message), sender)

    def close(self) -> None:
        # A thread that waits in recvfrom does not notice that its socket is closed.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _answer(self, message: bytes) -> bytes:
        end = message.index(0, 12) + 5  # labels, an empty one, type and class
        question = message[12:end]
        (kind,) = struct.unpack(">H", question[-4:-2])
        addresses = list(self.addresses) if kind == A else []
        self.questions += kind == A
        head = message[:2] + struct.pack(">HHHHH", ANSWER, 1, len(addresses), 0, 0)
        # Each record names the question's name by its place, and may be kept for no second.
        records = (
            struct.pack(">HHHIH", 0xC00C, A, 1, 0, 4) + socket.inet_aton(each) for each in addresses
        )
        return head + question + b"".join(records)


@contextmanager
def name_server() -> Iterator[NameServer]:
    """Run one."""
    server = NameServer()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        try:
            server.close()
        except OSError:  # shutdown of a socket that is not connected wakes the thread all the same
            server._socket.close()
        thread.join(10)
