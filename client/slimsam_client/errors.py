"""Everything that the client raises.

    SlimSamError
    ├── ImageError (ValueError)       the image cannot be read or used
    ├── PromptError (ValueError)      the prompts do not describe anything in the image
    ├── ServerUnavailableError        nothing answers at the address
    ├── ModelNotReadyError            a server answers, but does not serve the models (yet)
    ├── RequestTimeoutError           no answer within the timeout
    ├── ContractError                 the server's models are not the ones this client speaks to
    ├── InvalidRequestError           the server refused the request's tensors
    └── ServerError                   the server failed, for a reason of its own

Each message says what was expected, what came, and what to do.
"""

from __future__ import annotations

from tritonclient.utils import InferenceServerException


class SlimSamError(Exception):
    """Base of everything that the client raises."""


class ImageError(SlimSamError, ValueError):
    """The image cannot be read or used."""


class PromptError(SlimSamError, ValueError):
    """The prompts do not describe anything in the image."""


class ServerUnavailableError(SlimSamError):
    """Nothing answers at the address."""


class ModelNotReadyError(SlimSamError):
    """A server answers, but does not serve the models (yet)."""


class RequestTimeoutError(SlimSamError):
    """No answer came within the timeout."""


class ContractError(SlimSamError):
    """The server's models are not the ones that this client speaks to."""


class InvalidRequestError(SlimSamError):
    """The server refused the request's tensors."""


class ServerError(SlimSamError):
    """The server failed, for a reason of its own."""


def from_triton(error: InferenceServerException, url: str, server_lives: bool) -> SlimSamError:
    """Translate tritonclient's error by its gRPC status.

    Args:
        error: what tritonclient raised.
        url: address that was called.
        server_lives: whether a server answers there; it tells the two meanings of UNAVAILABLE
            apart, "nobody is there" and Triton's "the model is not ready".

    Returns:
        The error to raise from it.
    """
    # tritonclient writes the status as "StatusCode.NAME".
    status = str(error.status()).removeprefix("StatusCode.")
    said = str(error.message()).strip()
    if status == "DEADLINE_EXCEEDED":
        return RequestTimeoutError(
            f"{url}: expected an answer within the timeout, got none; "
            "give a longer timeout, or look at the server's load"
        )
    if status == "UNAVAILABLE" and not server_lives:
        return ServerUnavailableError(
            f"{url}: expected a Triton server (gRPC), nothing answers; "
            f"check the address and start it, for example with slimsam-serve ({said})"
        )
    if status in ("UNAVAILABLE", "NOT_FOUND"):
        return ModelNotReadyError(
            f"{url}: expected the models slimsam, slimsam_encoder and slimsam_decoder to be ready, "
            f"the server says: {said}; wait (wait_until_ready) or check its model repository"
        )
    if status == "INVALID_ARGUMENT":
        return InvalidRequestError(f"{url}: the server refused the request: {said}")
    return ServerError(f"{url}: the server failed ({status}): {said}; see the server's log")
