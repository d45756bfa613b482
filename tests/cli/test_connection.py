"""How the options reach the connection: address, mutual TLS, headers, timeout."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trustme
from tritonclient.grpc.service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

from slimsam_client.testing import FakeServer
from slimsam_client.testing.servicer import Servicer

PICTURE = Path(__file__).parents[2] / "examples" / "scene.png"
CLICK = ("segment", PICTURE, "--point", "200,100")

Main = Callable[..., tuple[int, str, str]]


def test_the_address_and_the_headers(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer() as server, FakeServer() as other:
        monkeypatch.setenv("SLIMSAM_URL", server.url)
        headers = ("--header", "Authorization:Bearer a:b", "--header", "x-tenant: 7")
        assert main(*CLICK, *headers)[0] == 0
        assert main(*CLICK, "--url", other.url)[0] == 0
        assert server.requests and other.requests
        for received in server.requests:
            assert received.headers["authorization"] == "Bearer a:b"
            assert received.headers["x-tenant"] == "7"
        assert not any("authorization" in received.headers for received in other.requests)


def test_a_header_that_is_there_twice(main: Main) -> None:
    with FakeServer() as server:
        headers = ("--header", "x-tenant:7", "--header", "X-Tenant:8")
        status, out, said = main(*CLICK, "--url", server.url, *headers)
        assert (status, out, server.requests) == (2, "", [])
    assert "--header: expected each name once, got x-tenant twice" in said


def test_the_timeout(main: Main) -> None:
    with FakeServer() as server:
        server.delay("slimsam_image", seconds=30)
        status, _, said = main(*CLICK, "--url", server.url, "--timeout", "0.3")
    assert status == 1 and "expected an answer within the timeout" in said


def test_mutual_tls(main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    root, chain, key = (tmp_path / name for name in ("root.pem", "chain.pem", "key.pem"))
    authority.cert_pem.write_to_path(str(root))
    client = authority.issue_cert("client.example")
    client.cert_chain_pems[0].write_to_path(str(chain))
    client.private_key_pem.write_to_path(str(key))
    own = authority.issue_cert("127.0.0.1")
    pair = (own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([pair], root.read_bytes(), require_client_auth=True),
    )
    server.start()
    address = ("--url", f"127.0.0.1:{port}")
    files = ("--root-certificates", root, "--certificate-chain", chain, "--private-key", key)
    try:
        assert main(*CLICK, *address, *files)[0] == 0
        assert main(*CLICK, *address, *files[:2])[0] == 1  # who are you?
        assert main(*CLICK, *address, "--tls")[0] == 1  # who are they?
        assert main(*CLICK, *address)[0] == 1
        for option, file in zip(files[::2], files[1::2], strict=True):
            name = str(option).removeprefix("--").upper().replace("-", "_")
            monkeypatch.setenv(f"SLIMSAM_{name}", str(file))
        assert main(*CLICK, *address)[0] == 0
    finally:
        server.stop(None).wait()
