"""Envoy with the configuration of deploy/envoy, before a server of a test's own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from slimsam_client import Tls

DEPLOY: Final = Path(__file__).parents[1] / "deploy" / "envoy"
ENVOY: Final = Path(sys.executable).parent / "envoy"
START_SECONDS: Final = 60


class Authorities:
    """Who signs the server's certificate, those of clients, and tokens.

    Args:
        directory: gets what Envoy reads below /etc/envoy.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key = Ed25519PrivateKey.generate()
        public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self._key.public_key()))
        (directory / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "test"}]}))
        (directory / "tls").mkdir()
        servers, clients, strangers = trustme.CA(), trustme.CA(), trustme.CA()
        server = servers.issue_cert("127.0.0.1")
        server.cert_chain_pems[0].write_to_path(str(directory / "tls/server.pem"))
        server.private_key_pem.write_to_path(str(directory / "tls/server.key"))
        clients.cert_pem.write_to_path(str(directory / "tls/clients.pem"))
        self.root = directory / "root.pem"
        servers.cert_pem.write_to_path(str(self.root))
        self.client, self.stranger = directory / "client.pem", directory / "stranger.pem"
        for authority, path in ((clients, self.client), (strangers, self.stranger)):
            certificate = authority.issue_cert("client.example")
            certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
        self.tls = Tls(self.root, self.client, self.client)

    def headers(self, subject: str | None, **claims: Any) -> dict[str, str]:
        """Make the headers with a token; claims of None are left out."""
        usual = {"iss": "https://issuer.example.com", "aud": "slimsam", "sub": subject}
        usual["exp"] = int(time.time()) + 3600  # type: ignore[assignment]
        known = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        token = jwt.encode(known, self._key, "EdDSA", {"kid": "test"})
        return {"authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Edge:
    """A running Envoy: the addresses of its listener and of its own administration, log and id."""

    url: str
    admin: str
    log: Path
    pid: int

    def counter(self, name: str) -> int:
        """Read one of Envoy's own counters."""
        query = f"http://{self.admin}/stats?filter=^{name}$"
        return int(urllib.request.urlopen(query, timeout=60).read().decode().split(": ")[1])

    def entries(self, call: str) -> list[dict[str, Any]]:
        """Give what the access log has of a method so far."""
        lines = self.log.read_text().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line[0] == "{" and line[-1] == "\n"]
        path = f"/inference.GRPCInferenceService/{call}"
        return [entry for entry in entries if entry["call"] == path]

    def logged(self, call: str) -> Iterator[dict[str, Any]]:
        """Give the access log's entries of a method, those to come included, for a minute."""
        deadline = time.monotonic() + 60
        seen = 0
        while time.monotonic() < deadline:
            entries = self.entries(call)
            yield from entries[seen:]
            seen = len(entries)
            time.sleep(0.05)


@contextmanager
def edge(
    authorities: Authorities,
    upstream: str,
    directory: Path,
    changes: Mapping[str, str] | None = None,
    text: str | None = None,
) -> Iterator[Edge]:
    """Run Envoy with the configuration as it is, but for addresses and files.

    Args:
        authorities: whose files it reads.
        upstream: host:port of the server behind it.
        directory: for its configuration and log.
        changes: further parts of the configuration and what stands in their place.
        text: the configuration; None for that of deploy/envoy.
    """
    host, port = upstream.split(":")
    files = str(authorities.directory)
    text = (DEPLOY / "envoy.yaml").read_text() if text is None else text
    for old, new in {
        "port_value: 9901": "port_value: 0",
        "address: 0.0.0.0, port_value: 8443": "address: 127.0.0.1, port_value: 0",
        "address: server, port_value: 8001": f"address: {host}, port_value: {port}",
        "/etc/envoy/requests.lua": str(DEPLOY / "requests.lua"),
        "/etc/envoy/jwks.json": f"{files}/jwks.json",
        "/etc/envoy/tls/server.pem": f"{files}/tls/server.pem",
        "/etc/envoy/tls/server.key": f"{files}/tls/server.key",
        "/etc/envoy/tls/clients.pem": f"{files}/tls/clients.pem",
        **(changes or {}),
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    assert "/etc/envoy/" not in text
    configuration, address, log = (directory / name for name in ("envoy.yaml", "admin", "log"))
    configuration.write_text(text)
    with log.open("w") as output:
        envoy = subprocess.Popen(
            [
                *(ENVOY, "-c", configuration, "--admin-address-path", address),
                *("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
                *("--file-flush-interval-msec", "50"),
            ],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield Edge(*_addresses(envoy, address, log), log, envoy.pid)
    finally:
        envoy.terminate()
        envoy.wait(60)


def _addresses(envoy: subprocess.Popen[bytes], path: Path, log: Path) -> tuple[str, str]:
    """Wait until it serves; give the addresses of its listener and of its administration."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and envoy.poll() is None:
        time.sleep(0.05)
        if path.exists() and (admin := path.read_text()):
            listeners = urllib.request.urlopen(f"http://{admin}/listeners?format=json", timeout=60)
            for listener in json.load(listeners).get("listener_statuses", []):
                socket = listener["local_address"]["socket_address"]
                return f"{socket['address']}:{socket['port_value']}", admin
    raise AssertionError(log.read_text()[-4000:])
