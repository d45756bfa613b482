"""How the clients reach a server: channel arguments, TLS, headers, deadlines, request ids."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from slimsam_client.errors import SettingsError
from slimsam_client.tracing import inject_context

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""gRPC metadata of every request, or a function that gives it, for tokens that expire."""

MAX_MESSAGE_BYTES: Final = 2**31 - 1
"""gRPC's own limit, and the server's. Passing any channel argument drops tritonclient's."""

RETRIES: Final = {
    "methodConfig": [
        {
            # Inferences alone: they change nothing on the server, and the first call of a client
            # that has the wrong address should say so at once.
            "name": [{"service": "inference.GRPCInferenceService", "method": "ModelInfer"}],
            "retryPolicy": {
                "maxAttempts": 5,  # gRPC's own limit
                "initialBackoff": "0.25s",
                "maxBackoff": "5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
"""gRPC's retry policy (grpc/proposal A6): it jitters the backoff and ends at the deadline."""


@dataclass(frozen=True)
class Tls:
    """Files of a TLS connection, PEM.

    Attributes:
        root_certificates: who may have signed the server's certificate; None: the system's.
        certificate_chain: the client's own certificate, for mutual TLS.
        private_key: the key of `certificate_chain`.
    """

    root_certificates: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None


@dataclass(frozen=True)
class RequestOptions:
    """What accompanies every request.

    Attributes:
        timeout: seconds that one request may take: queueing, transport and retries included.
        headers: gRPC metadata, or a function that gives it.
        request_id: the id of the requests; None makes one for each.
    """

    timeout: float
    headers: Headers | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.timeout < float("inf"):
            raise SettingsError(f"timeout: expected seconds above 0, got {self.timeout}")

    def for_request(self) -> dict[str, Any]:
        """Give the arguments that an inference of tritonclient takes."""
        return {
            "client_timeout": self.timeout,
            "headers": self.metadata(),
            "request_id": self.request_id or uuid.uuid4().hex,
        }

    def metadata(self) -> dict[str, str]:
        """Give the headers of now, the trace context among them."""
        given = self.headers() if callable(self.headers) else self.headers
        return inject_context({name.lower(): value for name, value in (given or {}).items()})


def channel(url: str, ssl: bool | Tls) -> dict[str, Any]:
    """Give the arguments that either client of tritonclient takes.

    Args:
        url: host:port.
        ssl: False for plain text, True for TLS with the system's certificates, or its files.

    Raises:
        SettingsError: a file of `ssl` cannot be read, or half of a pair is missing.
    """
    arguments: dict[str, Any] = {
        "url": url,
        "channel_args": [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.service_config", json.dumps(RETRIES)),
            # Above this many bytes gRPC does not retry; its default of 256 KiB is less than an
            # image or an embedding. A limit, not an allocation.
            ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
            # A server that was restarted is found again within a retry's backoff.
            ("grpc.initial_reconnect_backoff_ms", 250),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ],
    }
    if ssl:
        arguments["creds"] = _credentials(Tls() if ssl is True else ssl)
    return arguments


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    if (tls.certificate_chain is None) != (tls.private_key is None):
        raise SettingsError(
            "ssl: expected certificate_chain and private_key together, got one of them"
        )
    return grpc.ssl_channel_credentials(
        _read(tls.root_certificates, "root_certificates"),
        _read(tls.private_key, "private_key"),
        _read(tls.certificate_chain, "certificate_chain"),
    )


def _read(path: str | os.PathLike[str] | None, name: str) -> bytes | None:
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"ssl: {name}: expected a readable PEM file, got {path}: {error.strerror}"
        ) from error
    if b"-----BEGIN" not in content:
        raise SettingsError(f"ssl: {name}: expected a PEM file, got something else in {path}")
    return content
