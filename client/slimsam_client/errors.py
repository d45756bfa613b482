"""Everything that the client raises.

    SlimSamError
    ├── ImageError (ValueError)       the image cannot be read or used
    ├── PromptError (ValueError)      the prompts do not describe anything in the image
    ├── SettingsError (ValueError)    a setting of the client or of everything mode is wrong
    ├── MissingExtraError             an optional package is needed and not installed
    ├── BatchError                    some of several images failed; the others' results are in it
    ├── ServerUnavailableError        nothing answers at the address
    ├── ModelNotReadyError            a server answers, but does not serve the models (yet)
    ├── RequestTimeoutError           no answer within the timeout
    ├── RequestCancelledError         the client was closed, or the server cancelled the request
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


class SettingsError(SlimSamError, ValueError):
    """A setting of the client or of everything mode is wrong."""


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


class ServerUnavailableError(SlimSamError):
    """Nothing answers at the address."""


class ModelNotReadyError(SlimSamError):
    """A server answers, but does not serve the models (yet)."""


class RequestTimeoutError(SlimSamError):
    """No answer came within the timeout."""


class RequestCancelledError(SlimSamError):
    """The client was closed, or the server cancelled the request."""


class ContractError(SlimSamError):
    """The server's models are not the ones that this client speaks to."""


class InvalidRequestError(SlimSamError):
    """The server refused the request's tensors."""


class ServerError(SlimSamError):
    """The server failed, for a reason of its own."""


def nothing_answers(url: str) -> ServerUnavailableError:
    """Give the error for an address without a server."""
    return ServerUnavailableError(
        f"{url}: expected a Triton server (gRPC), nothing answers; check the address and start it, "
        "for example with slimsam-serve"
    )


def model_not_ready(url: str, model: str) -> ModelNotReadyError:
    """Give the error for a server that lives and does not serve a model."""
    return ModelNotReadyError(
        f"{url}: expected model {model} to be ready, it is not; "
        "check the server's model repository and log"
    )


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
    if status == "UNAVAILABLE" and not server_lives:
        return ServerUnavailableError(
            f"{where}: expected a Triton server (gRPC), nothing answers; "
            f"check the address and start it, for example with slimsam-serve ({said})"
        )
    if status in ("UNAVAILABLE", "NOT_FOUND"):
        return ModelNotReadyError(
            f"{where}: expected the models slimsam, slimsam_encoder and slimsam_decoder to be "
            f"ready, the server says: {said}; wait (wait_until_ready) or check its model repository"
        )
    if status == "INVALID_ARGUMENT":
        return InvalidRequestError(f"{where}: the server refused the request: {said}")
    return ServerError(f"{where}: the server failed ({status}): {said}; see the server's log")
