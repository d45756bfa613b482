"""`Tls`: the certificates that a connection trusts, and the one that it presents."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from slimsam_client.errors import SettingsError
from slimsam_client.quoting import quoted

_PEM: Final = "-----BEGIN"
"""What PEM files hold begins so."""


@dataclass(frozen=True)
class Tls:
    """The PEM files of a TLS connection.

    Attributes:
        root_certificates: certificates of those who may have signed the server's; None stands for
            gRPC's own list, or the file that the variable GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names.
        certificate_chain: the client's own certificate, for mutual TLS.
        private_key: the key of `certificate_chain`, not encrypted.
    """

    root_certificates: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Read the files.

    Raises:
        SettingsError: a file cannot be read, is no PEM file of its kind, or lacks its other half.
    """
    if (tls.certificate_chain is None) != (tls.private_key is None):
        raise SettingsError(
            "tls: expected certificate_chain and private_key together, got one of them"
        )
    root = _read(tls.root_certificates, "root_certificates")
    chain = _read(tls.certificate_chain, "certificate_chain")
    key = _read(tls.private_key, "private_key")
    _check(tls)
    return grpc.ssl_channel_credentials(root, key, chain)


def _read(path: str | os.PathLike[str] | None, name: str) -> bytes | None:
    if path is None:
        return None
    is_path = isinstance(path, str | os.PathLike)
    if not is_path or _PEM in str(path):
        # What a file holds may be a secret, so no message shows it.
        got = "what one holds" if is_path else type(path).__name__
        raise SettingsError(f"tls: {name}: expected the path of a PEM file, got {got}")
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError comes of NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"tls: {name}: expected a readable PEM file, got {quoted(str(path))}: {reason}"
        ) from error


def _check(tls: Tls) -> None:
    """Load the files as Python does: gRPC would fail at each connection, and only log why."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.root_certificates is not None:
        try:
            context.load_verify_locations(tls.root_certificates)
        except ssl.SSLError as error:
            raise SettingsError(
                "tls: root_certificates: expected a PEM file of certificates, "
                f"got {tls.root_certificates} ({error.reason or error})"
            ) from error
    if tls.certificate_chain is not None:
        try:
            # Without a password, Python would ask for one on the terminal.
            context.load_cert_chain(tls.certificate_chain, tls.private_key, password="")
        except ssl.SSLError as error:
            raise SettingsError(
                "tls: expected PEM files of a certificate and of its key, not encrypted, "
                f"got {tls.certificate_chain} and {tls.private_key} ({error.reason or error})"
            ) from error
