"""Everything that the client raises.

    SlimSamError
    ├── ImageError (ValueError)       the image cannot be read or used
    ├── PromptError (ValueError)      the prompts do not describe anything in the image
    ├── MaskError (ValueError)        a mask, or an encoding of one, cannot be used
    ├── SettingsError (ValueError)    a setting of the client or of everything mode is wrong
    ├── ImageNotSetError (RuntimeError)
    │                                 `Predictor` was asked before it had an image
    ├── MissingExtraError             an optional package is needed and not installed
    ├── BatchError                    some of several images failed; the others' results are in it
    ├── ServerUnavailableError        nothing answers at the address
    ├── ModelNotReadyError            a server answers, but does not serve the models (yet)
    ├── RequestTimeoutError           no answer within the timeout
    ├── RequestCancelledError         the client was closed, or the server cancelled the request
    ├── AccessDeniedError             the server, or a proxy before it, wants other headers
    ├── SharedMemoryError             the server and this process cannot share memory
    ├── ContractError                 the server's models are not the ones this client speaks to
    ├── InvalidRequestError           the server refused the request's tensors
    └── ServerError                   the server failed, for a reason of its own

Each message says what was expected, what came, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tritonclient.utils import InferenceServerException


class SlimSamError(Exception):
    """Base of everything that the client raises."""


class ImageError(SlimSamError, ValueError):
    """The image cannot be read or used."""


class PromptError(SlimSamError, ValueError):
    """The prompts do not describe anything in the image."""


class MaskError(SlimSamError, ValueError):
    """A mask, or an encoding of one, cannot be used."""


class SettingsError(SlimSamError, ValueError):
    """A setting of the client or of everything mode is wrong."""


class ImageNotSetError(SlimSamError, RuntimeError):
    """`Predictor` was asked before it had an image."""


class MissingExtraError(SlimSamError, ImportError):
    """An optional package is needed and not installed."""


class BatchError(SlimSamError):
    """Some of several images failed.

    Attributes:
        errors: the error of each image that failed, by its index.
        results: what the call would have returned, with None for the images that failed.
    """

    def __init__(self, errors: Mapping[int, SlimSamError], results: Sequence[Any]) -> None:
        first, error = next(iter(sorted(errors.items())))
        super().__init__(
            f"{len(errors)} of {len(results)} images failed, the first at index {first}: "
            f"{type(error).__name__}: {error}; the others' results are in this error's `results`"
        )
        self.errors = dict(errors)
        self.results = list(results)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by what it was made of, so that process pools can raise it."""
        return type(self), (self.errors, self.results)


class ServerUnavailableError(SlimSamError):
    """Nothing answers at the address, or not in the TLS that was asked for."""


class ModelNotReadyError(SlimSamError):
    """A server answers, but does not serve the models (yet)."""


class RequestTimeoutError(SlimSamError):
    """No answer came within the timeout."""


class RequestCancelledError(SlimSamError):
    """The client was closed, or the server cancelled the request."""


class AccessDeniedError(SlimSamError):
    """The server, or a proxy before it, wants other headers."""


class SharedMemoryError(SlimSamError):
    """The server and this process cannot share memory."""


class ContractError(SlimSamError):
    """The server's models are not the ones that this client speaks to."""


class InvalidRequestError(SlimSamError):
    """The server refused the request's tensors."""


class ServerError(SlimSamError):
    """The server failed, for a reason of its own."""


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


def not_up(error: InferenceServerException, url: str, server_lives: bool) -> SlimSamError:
    """Translate the error of a look whether a server is up.

    Args:
        error: what tritonclient raised.
        url: address that was called.
        server_lives: whether it had said so before.
    """
    if error.status() == "StatusCode.DEADLINE_EXCEEDED" and not server_lives:
        return ServerUnavailableError(f"{url}: {_unreachable('no answer')}")
    return from_triton(error, url, server_lives)


def from_triton(
    error: InferenceServerException, url: str, server_lives: bool, request_id: str = ""
) -> SlimSamError:
    """Translate tritonclient's error by its gRPC status.

    Args:
        error: what tritonclient raised.
        url: address that was called.
        server_lives: whether a server answers there; it tells the two meanings of UNAVAILABLE
            apart, "nobody is there" and Triton's "the model is not ready".
        request_id: of the request, as the server's log has it.

    Returns:
        The error to raise from it.
    """
    # tritonclient writes the status as "StatusCode.NAME".
    status = str(error.status()).removeprefix("StatusCode.")
    said = str(error.message()).strip()
    where = f"{url} (request {request_id})" if request_id else url
    if status == "DEADLINE_EXCEEDED":
        return RequestTimeoutError(
            f"{where}: expected an answer within the timeout, got none; "
            "give a longer timeout, or look at the server's load"
        )
    if status == "CANCELLED":
        return RequestCancelledError(f"{where}: the request was cancelled ({said})")
    # Triton says UNAVAILABLE for a header that --grpc-restricted-protocol asks for.
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED") or "protocol is restricted" in said:
        return AccessDeniedError(
            f"{where}: expected the right to send this request, the server says: {said}; "
            "give the client other headers"
        )
    if status == "UNAVAILABLE" and not server_lives:
        return ServerUnavailableError(f"{where}: {_unreachable(said)}")
    if status in ("UNAVAILABLE", "NOT_FOUND"):
        return ModelNotReadyError(
            f"{where}: expected the models slimsam, slimsam_encoder and slimsam_decoder to be "
            f"ready, the server says: {said}; wait (wait_until_ready) or check its model repository"
        )
    if status == "INVALID_ARGUMENT":
        return InvalidRequestError(f"{where}: the server refused the request: {said}")
    return ServerError(f"{where}: the server failed ({status}): {said}; see the server's log")


def shared_memory_refused(error: SlimSamError) -> SharedMemoryError | None:
    """Give the error for a server that does not share memory; None if it failed otherwise.

    Args:
        error: of the attempt to register a region.
    """
    said = str(error)
    if "open shared memory region" in said:
        return SharedMemoryError(
            "shared_memory: expected a server on this host, of the same user and with the same "
            "/dev/shm (docker run --ipc=host), this one cannot open this process's memory; "
            f"do without shared_memory ({said})"
        )
    denied = isinstance(error, AccessDeniedError)
    # "Client shared memory is disabled" (26.04 and later), and servers that are not Triton.
    if denied or "shared memory" in said or "UNIMPLEMENTED" in said:
        return SharedMemoryError(
            "shared_memory: expected a server that allows it, this one does not; start it with "
            "slimsam-serve --allow-shared-memory, or tritonserver with --allow-client-shm=true and "
            "shared-memory not among its restricted protocols; or do without shared_memory "
            f"({said})"
        )
    return None


def _unreachable(said: str) -> str:
    """Say why nothing answers at an address, as far as gRPC's words tell."""
    if any(word in said for word in ("Tls handshake", "Ssl handshake", "security handshaker")):
        what = "a TLS handshake, it failed; check `ssl`, and the server's flags and certificate"
    elif "Socket closed" in said:
        what = (
            "a Triton server (gRPC), something closes each connection; "
            "if it wants TLS or a client's certificate, give `ssl`"
        )
    elif "HTTP/2" in said or "http1" in said:
        what = "a Triton server (gRPC), something else answers; is it the port of HTTP or metrics?"
    else:
        what = (
            "a Triton server (gRPC), nothing answers; "
            "check the address and start it, for example with slimsam-serve"
        )
    return f"expected {what} ({said})"
