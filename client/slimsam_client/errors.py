"""The errors that the client raises.

    SlimSamError
    ├── ImageError (ValueError)       the image cannot be read or used
    ├── PromptError (ValueError)      the prompts do not describe anything in the image
    ├── MaskError (ValueError)        a mask, or an encoding of one, cannot be used
    ├── SettingsError (ValueError)    a setting of the client or of everything mode is wrong
    ├── ImageNotSetError (RuntimeError)
    │                                 `Predictor` was asked before it had an image
    ├── StaleEmbeddingError (ValueError)
    │                                 the embedding is of another checkpoint than is served
    ├── NotKeptError (LookupError)    the server keeps the image, or the mask, no longer
    ├── MissingExtraError             an optional package is needed and not installed
    ├── BatchError                    some of several images failed; the others' results are in it
    ├── ServerUnavailableError        nothing answers at the address
    ├── ModelNotReadyError            a server answers, but does not serve the models (yet)
    ├── ServerBusyError               the server takes no more requests for the moment
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
from typing import Any, Final

OTHER_CONTRACT: Final = "serve the model repository of this client's version"
"""What to do about a ContractError."""


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


class StaleEmbeddingError(SlimSamError, ValueError):
    """The embedding is of another checkpoint than the one that is served."""


class NotKeptError(SlimSamError, LookupError):
    """The server keeps the image, or the mask that is to be refined, no longer."""


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
        """Pickle the error by what it was made of, so that process pools can raise it."""
        return type(self), (self.errors, self.results)


class ServerUnavailableError(SlimSamError):
    """Nothing answers at the address, or not in the TLS that was asked for."""


class ModelNotReadyError(SlimSamError):
    """A server answers, but does not serve the models (yet)."""


class ServerBusyError(SlimSamError):
    """The server takes no more requests for the moment."""


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


OF_AN_IMAGE: Final = (
    ImageError, InvalidRequestError, MaskError, PromptError,
    RequestCancelledError, RequestTimeoutError, ServerError,
)  # fmt: skip
"""After these errors the next of many images may succeed; after any other, none will."""
