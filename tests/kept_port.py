"""A port that a server may leave and come back to: nobody else is given it meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_port() -> Iterator[int]:
    """Keep a port of loopback, at which nothing listens; whoever is given its number may.

    Linux lets a second socket have the address of one that does not listen, if both ask for that
    (SO_REUSEADDR), as gRPC's and asyncio's servers do; and gives the port to none that takes any.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
