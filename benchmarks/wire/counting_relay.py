"""A TCP relay that counts what goes through it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class CountingRelay:
    """A TCP relay on loopback that counts bytes in both directions.

    Args:
        target: host:port of the server behind it.

    Attributes:
        url: host:port to connect to.
        sent: bytes from clients.
        received: bytes to clients.
    """

    def __init__(self, target: str) -> None:
        host, port = target.split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = self.received = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            for source, sink, name in ((client, server, "sent"), (server, client, "received")):
                threading.Thread(target=self._pump, args=(source, sink, name), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        with suppress(OSError):  # the other direction has ended, and both are closed
            while chunk := source.recv(1 << 16):
                setattr(self, name, getattr(self, name) + len(chunk))  # one thread per direction
                sink.sendall(chunk)
        source.close()
        sink.close()
