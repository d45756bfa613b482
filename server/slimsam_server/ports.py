"""Ports of the loopback interface."""

from __future__ import annotations

import socket
from typing import Any, Final

from slimsam_client.numeric import as_integer
from slimsam_server.errors import ServerError

HOST: Final = "127.0.0.1"
"""Loopback only: Triton 2.51 has known vulnerabilities."""


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
    """Give a port that is free now."""
    with socket.socket() as probe_socket:
        probe_socket.bind((HOST, 0))
        port: int = probe_socket.getsockname()[1]
        return port


def listens(address: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True
