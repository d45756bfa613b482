"""Files of TLS that cannot be used, and TLS where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from slimsam_client import ServerUnavailableError, SettingsError, Tls


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With root.pem, two certificates with their keys, and files that are none."""
    made = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(made / "root.pem"))
    for name in ("one", "two"):
        certificate = authority.issue_cert(name)
        certificate.cert_chain_pems[0].write_to_path(str(made / f"{name}.pem"))
        certificate.private_key_pem.write_to_path(str(made / f"{name}.key"))
    key = serialization.load_pem_private_key((made / "one.key").read_bytes(), None)
    (made / "locked.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a password"),
        )
    )
    (made / "text.pem").write_text("not a certificate")
    damaged = (made / "one.pem").read_text().replace("\n", "")
    (made / "damaged.pem").write_text(f"-----BEGIN CERTIFICATE-----\n{damaged[40:90]}\n")
    return made


@pytest.mark.parametrize(
    ("root", "chain", "key", "message"),
    [
        (
            "missing.pem",
            None,
            None,
            "root_certificates: expected a readable .*missing.pem: No such",
        ),
        (".", None, None, "root_certificates: expected a readable PEM file"),
        ("text.pem", None, None, "root_certificates: expected a PEM file of certificates"),
        ("damaged.pem", None, None, "root_certificates: expected a PEM file of certificates"),
        ("root.pem", "one.pem", None, "certificate_chain and private_key together"),
        ("root.pem", None, "one.key", "certificate_chain and private_key together"),
        ("root.pem", "one.pem", "missing.key", "private_key: expected a readable PEM file"),
        ("root.pem", "missing.pem", "one.key", "certificate_chain: expected a readable PEM file"),
        ("root.pem", "one.pem", "two.key", "a certificate and of its key.*KEY_VALUES_MISMATCH"),
        ("root.pem", "one.key", "one.key", "expected PEM files of a certificate and of its key"),
        ("root.pem", "one.pem", "locked.key", "of its key, not encrypted"),
    ],
)
def test_files_that_cannot_be_used(
    root: str | None,
    chain: str | None,
    key: str | None,
    message: str,
    directory: Path,
    connect: Any,
) -> None:
    paths = [None if name is None else directory / name for name in (root, chain, key)]
    with pytest.raises(SettingsError, match=message):
        connect(tls=Tls(*paths))


@pytest.mark.parametrize("field", ["root_certificates", "certificate_chain", "private_key"])
def test_what_a_file_holds_is_no_path_and_is_not_shown(
    field: str, directory: Path, connect: Any
) -> None:
    paths = {"certificate_chain": directory / "one.pem", "private_key": directory / "one.key"}
    secret = (directory / "one.key").read_text()
    for given, named in ((secret, "what one holds"), (secret.encode(), "bytes"), (7, "int")):
        with pytest.raises(
            SettingsError, match=f"{field}: expected the path of .* got {named}"
        ) as caught:
            connect(tls=Tls(**{**paths, field: given}))
        assert secret.splitlines()[1] not in str(caught.value)
    with pytest.raises(SettingsError, match=f"{field}: expected a readable PEM file, got .*null"):
        connect(tls=Tls(**{**paths, field: "one\0.pem"}))


def test_tls_to_a_server_without_it(directory: Path, scripted: Any, connect: Any) -> None:
    _, url = scripted
    ssl = Tls(directory / "root.pem", directory / "one.pem", str(directory / "one.key"))
    with pytest.raises(ServerUnavailableError, match="a TLS handshake, it failed; check `tls`"):
        connect(url, tls=ssl).embed(np.zeros((8, 8, 3), np.uint8))
