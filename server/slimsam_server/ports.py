"""Ports of the loopback interface."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any, Final

from slimsam_client.numeric import as_integer
from slimsam_server.errors import ServerError

HOST: Final = "127.0.0.1"
"""Loopback only: Triton 2.51 has known vulnerabilities."""

LEAST_PORT: Final = 10_000
EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES: Final = 100


def as_port(value: Any, name: str) -> int:
    """Give a port of an argument, any integer type; ServerError if it is none."""
    port = as_integer(value)
    if port is None or not 0 <= port < 2**16:
        raise ServerError(f"{name}: expected an integer within 0..65535, got {value!r}")
    return port


def check_port(port: int, purpose: str) -> None:
    """Check that a loopback port is free; 0 always is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerError(
                f"{purpose} port {port}: expected a free port on {HOST}, got {error}; "
                f"stop what listens there, or give --{purpose}-port another (0: any free one)"
            ) from error


def free_port() -> int:
    """Give a port that is free now, and probably will be when a server has loaded its models.

    The kernel gives those of its ephemeral range to every connection, and to whoever asks for any,
    so it is below them if there is room.
    """
    with hold_free_port() as held:
        port: int = held.getsockname()[1]
        return port


def hold_free_port() -> socket.socket:
    """Bind such a port, so that nobody else is given it until the socket is closed.

    A server that sets SO_REUSEADDR, as Triton does, can listen there all the same (socket(7)).
    """
    tries = random.SystemRandom().choices(range(LEAST_PORT, _first_ephemeral()) or [0], k=TRIES)
    for port in (*tries, 0):
        held = socket.socket()
        try:
            held.bind((HOST, port))
        except OSError:
            held.close()
            continue
        # Not before: else two could hold the same one.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return held
    raise ServerError(f"expected a free port on {HOST}, got none; end what listens on so many")


def _first_ephemeral() -> int:
    try:
        return int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return LEAST_PORT


def listens(address: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True
