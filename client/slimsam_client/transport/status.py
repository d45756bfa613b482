"""`Status`: gRPC's statuses, and their translation to the client's errors."""

from __future__ import annotations

import re
from typing import Final

import grpc

from slimsam_client.contract import MODELS, NOT_KEPT
from slimsam_client.errors import (
    AccessDeniedError,
    ContractError,
    InvalidRequestError,
    ModelNotReadyError,
    NotKeptError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    SlimSamError,
    StaleEmbeddingError,
)
from slimsam_client.quoting import quoted
from slimsam_client.transport.proxies import proxy_of

MAX_DETAILS: Final = 500
"""A message quotes at most so many characters of a server's text."""

_NOT_REACHED: Final = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "errors resolving",
    "DNS resolution failed",
    "empty address list",
    # Envoy's words for the same between it and the server.
    "connection failure",
    "no healthy upstream",
)
_BROKE: Final = (
    "Stream removed",
    "Socket closed",
    "Connection reset",
    "connection reset",
    "Broken pipe",
    "Connection timed out",
    "GOAWAY",
    "Cancelling all calls",
    "keepalive watchdog",
    "ping timeout",
    "Endpoint closing",
    "RST_STREAM",
    # Envoy's, for a server that ended.
    "connection termination",
    "remote reset",
)
# Triton's words for a model's process, which is killed or has crashed, and which it starts anew.
_STUB_DIED: Final = "Stub process"
_TOO_LARGE: Final = ("larger than max", "message too large", "message length", "message size")
_BUSY: Final = (
    "maximum queue size",
    "Request timeout expired",
    "status: 429",
    # Envoy's, where it is not told to answer RESOURCE_EXHAUSTED.
    "reset reason: overflow",
    "rate_limited",
    "envoy overloaded",
)
# gRPC's words where a stream is reset without an error, as Envoy does to those that hold the most
# when its memory is short (reset_high_memory_stream). It sends no answer that would say so.
_SHED: Final = re.compile(r"RST_STREAM with error code 0\b")
# Triton's words for a version of a model that it has not; ours is the checkpoint's.
_OTHER_VERSION: Final = re.compile(r"version \d+ is not found")
_TLS: Final = ("Tls handshake", "Ssl handshake", "security handshaker")
# The other side ended the connection by an alert, after the handshake as this side saw it.
_TLS_ENDED: Final = "Unwrap failed"


class Status(Exception):
    """A request that ended in a gRPC status other than OK.

    gRPC tells only by its words whether the server gave a status or the channel did, so this is
    the one place that reads them.

    Args:
        code: the name of a grpc.StatusCode.
        details: the text that came with it, of any length.
        url: the address that was asked, of a list that one of it.
    """

    def __init__(self, code: str, details: str, url: str = "") -> None:
        self.code = code
        self.url = url
        self.details = quoted(details.strip(), MAX_DETAILS)
        super().__init__(f"{code}: {self.details}")

    @classmethod
    def of(cls, error: grpc.RpcError, url: str = "") -> Status:
        """Take the status from an error of gRPC, of a request to an address."""
        code = error.code()
        name = code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"
        return cls(name, str(error.details() or ""), url)

    def _says(self, words: tuple[str, ...]) -> bool:
        return any(word in self.details for word in words)

    @property
    def not_reached(self) -> bool:
        """Whether no server has seen the request."""
        return self.code == "UNAVAILABLE" and self._says(_NOT_REACHED)

    @property
    def broke(self) -> bool:
        """Whether the connection broke with the request under way: perhaps because of it."""
        return self.code == "UNAVAILABLE" and not self.not_reached and self._says(_BROKE)

    @property
    def stub_died(self) -> bool:
        """Whether a model's process had ended before the request was answered."""
        return self.code == "INTERNAL" and _STUB_DIED in self.details

    @property
    def denied(self) -> bool:
        """Whether other headers are wanted."""
        # Triton answers UNAVAILABLE for want of a header that --grpc-restricted-protocol asks for.
        restricted = "protocol is restricted" in self.details
        return self.code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or restricted

    @property
    def too_large(self) -> bool:
        """Whether a message is above a limit of its length: the same would be again."""
        return self.code == "RESOURCE_EXHAUSTED" and self._says(_TOO_LARGE)

    @property
    def of_other_version(self) -> bool:
        """Whether the server has the model, and not in the version that the request names."""
        return self.code == "NOT_FOUND" and bool(_OTHER_VERSION.search(self.details))

    @property
    def busy(self) -> bool:
        """Whether the server lives and takes no more requests for the moment."""
        if self.code == "RESOURCE_EXHAUSTED":
            return not self.too_large
        if self.code == "INTERNAL":
            return bool(_SHED.search(self.details))
        return self.code == "UNAVAILABLE" and not self.not_reached and self._says(_BUSY)

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed a little later.

        Such a request has not been answered, and repeating an inference does no harm.
        """
        if self.busy or self.stub_died:
            return True
        # Triton answers this to a model that asks another one when it has begun to stop.
        if self.code == "INTERNAL" and "Server not ready" in self.details:
            return True
        if self.code == "UNAVAILABLE":
            return not self.denied
        # Triton 2.51 answers this between unloading its models and closing its port.
        return self.code == "NOT_FOUND" and "has no available versions" in self.details


def not_up(status: Status, url: str, server_lives: bool) -> SlimSamError:
    """Translate the status of a check whether a server is up.

    Args:
        status: the status that the check ended in.
        url: address that was called.
        server_lives: whether the server had answered before that it lives.
    """
    if status.code == "DEADLINE_EXCEEDED" and not server_lives:
        return ServerUnavailableError(f"{url}: {_unreachable('no answer', url)}")
    return from_status(status, url, server_lives)


def from_status(status: Status, url: str, server_lives: bool, request_id: str = "") -> SlimSamError:
    """Translate a status.

    Args:
        status: the status that a request ended in.
        url: address that was called. Of a list, the one that a picture's request asked is named
            in its place, unless none was reached.
        server_lives: whether a server answers there; it tells the two meanings of UNAVAILABLE
            apart, "nobody is there" and Triton's "the model is not ready".
        request_id: the request's id, as the server's log has it.

    Returns:
        The error to raise from it.
    """
    code, details = status.code, status.details
    url = url if status.not_reached else status.url or url
    where = f"{url} (request {request_id})" if request_id else url
    if code == "DEADLINE_EXCEEDED":
        return RequestTimeoutError(
            f"{where}: expected an answer within the timeout, got none; "
            "give a longer timeout, or look at the server's load"
        )
    if code == "CANCELLED":
        return RequestCancelledError(f"{where}: the request was cancelled ({details})")
    if status.denied:
        return AccessDeniedError(
            f"{where}: expected the right to send this request, the server says: {details}; "
            "give the client other headers"
        )
    if status.busy:
        return ServerBusyError(
            f"{where}: expected a server with room for this request, it says: {details}; "
            "send fewer at once, give a longer timeout, or add instances of the model"
        )
    if status.broke:
        return ServerUnavailableError(f"{where}: {_broken(details)}")
    if code == "UNAVAILABLE" and not server_lives:
        return ServerUnavailableError(f"{where}: {_unreachable(details, url)}")
    if code == "NOT_FOUND" and details.startswith(NOT_KEPT):
        return NotKeptError(
            f"{where}: expected an image, or a mask, that the server keeps, it says: {details}"
        )
    if status.of_other_version:
        return StaleEmbeddingError(
            f"{where}: expected an embedding of the checkpoint that is served, got one of another "
            f"({details}); embed the image again"
        )
    if code in ("UNAVAILABLE", "NOT_FOUND"):
        models = ", ".join(model.name for model in MODELS)
        return ModelNotReadyError(
            f"{where}: expected the models {models} to be ready, "
            f"the server says: {details}; wait (wait_until_ready) or check its model repository"
        )
    if code == "INVALID_ARGUMENT":
        return InvalidRequestError(f"{where}: the server refused the request: {details}")
    if status.too_large:
        return ServerError(
            f"{where}: expected messages within the limits of length on the way, one is above "
            f"({code}): {details}; ask for less at once, or raise the limit where it is"
        )
    if code in ("INTERNAL", "UNIMPLEMENTED") and "ompression algorithm" in details:
        return ContractError(
            f"{where}: expected an answer that is not compressed, as this client asks for it; "
            f"got another ({details}); look at what is between client and server"
        )
    return ServerError(f"{where}: the server failed ({code}): {details}; see the server's log")


def _broken(details: str) -> str:
    return (
        "expected an answer, the connection broke while the request was under way; if the server "
        "was not stopped, its log may say why it ended; if it wants TLS or a client's "
        f"certificate, give `tls` ({details})"
    )


def _unreachable(details: str, url: str) -> str:
    """Say why nothing answers at an address, as far as gRPC's words tell."""
    if any(word in details for word in _TLS):
        what = "a TLS handshake, it failed; check `tls`, and the server's flags and certificate"
    elif _TLS_ENDED in details:
        what = (
            "a Triton server (gRPC), something ends each connection after the TLS handshake; "
            "if it wants a client's certificate, give `tls` one that it knows"
        )
    elif any(word in details for word in ("Socket closed", "Connection reset by peer")):
        what = (
            "a Triton server (gRPC), something closes each connection; "
            "if it wants TLS or a client's certificate, give `tls`"
        )
    elif "HTTP/2" in details or "http1" in details:
        what = "a Triton server (gRPC), something else answers; is it the port of HTTP or metrics?"
    elif proxy := proxy_of(url):
        what = (
            f"a Triton server (gRPC) behind the proxy {proxy}, nothing answers; check the address, "
            "or have the variable no_proxy name the host if the proxy does not lead to it"
        )
    else:
        what = (
            "a Triton server (gRPC), nothing answers; "
            "check the address and start it, for example with slimsam-serve"
        )
    return f"expected {what} ({details})"


def client_closed(url: str) -> RequestCancelledError:
    """Give the error for a request of a client that was closed."""
    return RequestCancelledError(
        f"{url}: expected an open client, this one is closed; "
        "make another, or close it after its last request"
    )


def model_not_ready(url: str, model: str) -> ModelNotReadyError:
    """Give the error for a server that lives and does not serve a model."""
    return ModelNotReadyError(
        f"{url}: expected model {model} to be ready, it is not; "
        "check the server's model repository and log"
    )
