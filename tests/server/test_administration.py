"""Who may administer a server: the key, and the header that nobody can send."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from raw_http2 import has_answer

from slimsam_server import EmbeddedServer, ServerError
from slimsam_server.administration import UNSENDABLE_HEADER, restriction

PREFIX = "triton-grpc-protocol-"


def test_a_key_is_asked_for_in_its_header() -> None:
    flag = "--grpc-restricted-protocol=trace,logging:admin-key=open=sesame"
    assert restriction(["trace", "logging"], "open=sesame") == flag


@pytest.mark.parametrize("key", ["two\nlines", "schl\xfcssel", " ", "\x7f"])
def test_a_key_that_no_header_can_carry(key: str) -> None:
    with pytest.raises(ServerError, match="SLIMSAM_ADMIN_KEY: expected printable ASCII") as error:
        restriction(key=key)
    assert key.strip() == "" or key not in str(error.value)


def ask(url: str, method: str, **headers: str) -> bool:
    host, port = url.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        return has_answer(connection, method, headers)


def test_without_a_key_nobody_administers_a_server(demo_server: EmbeddedServer) -> None:
    """Whoever has read its command line knows all there is to know."""
    command = Path(f"/proc/{demo_server.processes()[0]}/cmdline").read_text()
    ((name, value),) = re.findall(r"--grpc-restricted-protocol=[\w,-]+:([^=]+)=(\w+)\0", command)
    assert name == UNSENDABLE_HEADER
    url = demo_server.grpc_url
    assert ask(url, "ServerLive")
    for method in ("LogSettings", "RepositoryIndex", "SystemSharedMemoryStatus", "TraceSetting"):
        for header in (name, name.lower()):
            assert not ask(url, method, **{f"{PREFIX}{header}": value})
    # gRPC's server ends a call with such a header before Triton sees it.
    assert ask(url, "ServerLive", **{f"{PREFIX}{name.lower()}": value})
    assert not ask(url, "ServerLive", **{f"{PREFIX}{name}": value})
