"""TLS, certificates of clients, and keys of protocols, on a real tritonserver."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from skimage import data

from slimsam_client import AccessDeniedError, ModelNotReadyError, ServerUnavailableError, Tls
from slimsam_server.backend_directory import assemble
from slimsam_server.ports import hold_free_port
from slimsam_server.tritonserver import environment, wheel_directory

CLICK: dict[str, Any] = {"points": [(300, 200)]}
KEY = {"triton-grpc-protocol-slimsam-key": "open sesame"}


@dataclass(frozen=True)
class Files:
    """What two authorities have signed, as PEM files: for the server, a client and a stranger."""

    root: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    other_root: Path
    stranger: Path
    stranger_key: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("certificates")
    ours, other = trustme.CA(), trustme.CA()
    made = {"root": ours.cert_pem, "other_root": other.cert_pem}
    for name, authority in (("server", ours), ("client", ours), ("stranger", other)):
        certificate = authority.issue_cert("127.0.0.1")
        made[name] = certificate.cert_chain_pems[0]
        made[f"{name}_key"] = certificate.private_key_pem
    paths = {name: directory / f"{name}.pem" for name in made}
    for name, pem in made.items():
        pem.write_to_path(str(paths[name]))
    return Files(**paths)


@contextlib.contextmanager
def tritonserver(repository: Path, directory: Path, *flags: str) -> Iterator[str]:
    """Serve with more flags than the embedded server has; give its address once it listens."""
    held = hold_free_port()
    port = held.getsockname()[1]
    with (directory / "log").open("w") as log:
        server = subprocess.Popen(
            [
                str(wheel_directory() / "bin" / "tritonserver"),
                f"--model-repository={repository}",
                f"--backend-directory={assemble(directory / 'backends')}",
                "--model-config-name=openvino",
                "--disable-auto-complete-config",
                "--allow-http=false",
                "--allow-metrics=false",
                "--grpc-address=127.0.0.1",
                f"--grpc-port={port}",
                "--exit-timeout-secs=3",
                *flags,
            ],
            env={**environment(2), "SLIMSAM_CACHE_PATH": str(directory / "pictures")},
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"status {server.wait(0.1)}: {(directory / 'log').read_text()[-2000:]}")
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(120)
        held.close()


@pytest.fixture(scope="module")
def tls(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """TLS, and no models: it starts at once."""
    directory = tmp_path_factory.mktemp("tls")
    flags = (f"--grpc-server-cert={files.server}", f"--grpc-server-key={files.server_key}")
    (directory / "empty").mkdir()
    with tritonserver(directory / "empty", directory, "--grpc-use-ssl=true", *flags) as url:
        yield url


@pytest.fixture(scope="module")
def mutual(
    files: Files, demo_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Mutual TLS, and a key for inferences."""
    name, value = next(iter(KEY.items()))
    with tritonserver(
        demo_repository,
        tmp_path_factory.mktemp("mutual"),
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={files.server}",
        f"--grpc-server-key={files.server_key}",
        f"--grpc-root-cert={files.root}",
        f"--grpc-restricted-protocol=inference:{name.removeprefix('triton-grpc-protocol-')}={value}",
    ) as url:
        yield url


def test_tls(tls: str, files: Files, connect: Any) -> None:
    sam = connect(tls, timeout=60, tls=Tls(root_certificates=files.root))
    with pytest.raises(ModelNotReadyError, match="slimsam_encoder"):  # so the server has answered
        sam.embed(data.coffee())


@pytest.mark.parametrize("ssl", ["other root", True])
def test_a_certificate_of_another_authority(ssl: Any, tls: str, files: Files, connect: Any) -> None:
    sam = connect(tls, tls=Tls(files.other_root) if ssl == "other root" else ssl)
    message = f"{tls}: expected a TLS handshake, it failed.*CERTIFICATE_VERIFY_FAILED"
    with pytest.raises(ServerUnavailableError, match=message):
        sam.segment(data.coffee(), **CLICK)
    assert not sam.ready()
    with pytest.raises(ServerUnavailableError, match=message):
        sam.wait_until_ready(0.1)


def test_plain_text_to_a_server_of_tls(tls: str, connect: Any) -> None:
    with pytest.raises(ServerUnavailableError, match="closes each connection; .*give `tls`"):
        connect(tls).segment(data.coffee(), **CLICK)


def test_mutual_tls_and_a_key(mutual: str, files: Files, connect: Any) -> None:
    ssl = Tls(files.root, files.client, files.client_key)
    sam = connect(mutual, timeout=60, tls=ssl, headers=KEY)
    assert sam.segment(data.coffee(), **CLICK).masks.any()
    assert sam.ready()
    for headers in ({}, {**KEY, next(iter(KEY)): "sesame"}):
        with pytest.raises(AccessDeniedError, match=next(iter(KEY))) as error:
            sam.with_options(headers=headers).segment(data.coffee(), **CLICK)
        assert "sesame" not in str(error.value)


def test_mutual_tls_with_a_certificate_that_the_server_does_not_know(
    mutual: str, files: Files, connect: Any
) -> None:
    for ssl in (Tls(files.root), Tls(files.root, files.stranger, files.stranger_key)):
        with pytest.raises(ServerUnavailableError, match="if it wants .* a client's certificate"):
            connect(mutual, tls=ssl, headers=KEY).segment(data.coffee(), **CLICK)
