"""Problems: what every error is in HTTP, as RFC 9457's application/problem+json.

`KINDS` is the one table of them: answers, the OpenAPI description and the documentation are made
of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from slimsam_client import (
    AccessDeniedError,
    ContractError,
    ImageError,
    InvalidRequestError,
    ModelNotReadyError,
    NotKeptError,
    PromptError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    SettingsError,
    SlimSamError,
)
from slimsam_client.contract import TOO_LARGE
from slimsam_client.transport.status import Status

MEDIA_TYPE: Final = "application/problem+json"
PATH: Final = "/v1/problems"
"""The page that explains the kinds; `type` leads there."""
RETRY_SECONDS: Final = 2
"""Who is told to come again is told to wait so long."""
CLOSED: Final = 499
"""What is logged for a request whose caller has gone away, as nginx does."""


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        name: a word for programs, the fragment of `type`.
        status: the HTTP status.
        title: what is wrong, the same for all problems of the kind.
        advice: what to do.
        errors: the client's errors that are this problem.
    """

    name: str
    status: int
    title: str
    advice: str
    errors: tuple[type[SlimSamError], ...] = ()

    @property
    def type(self) -> str:
        """The URI reference that identifies the kind."""
        return f"{PATH}#{self.name}"


_LATER: Final = "try again after Retry-After seconds"
_OPERATOR: Final = "tell the operator the request id: the gateway's log says more"

IMAGE: Final = Kind(
    "image", 400, "the picture cannot be read or used", "send another file", (ImageError,)
)
PROMPT: Final = Kind(
    "prompt",
    400,
    "the prompt does not describe anything in a picture",
    "send what the schema Prompt of /v1/openapi.json says",
    (PromptError,),
)
SETTINGS: Final = Kind(
    "settings", 400, "a setting of everything mode is wrong", "change it", (SettingsError,)
)
REFUSED: Final = Kind(
    "refused",
    400,
    "the server refused the picture or the prompt",
    "change what the detail names",
    (InvalidRequestError,),
)
QUERY: Final = Kind("query", 400, "a parameter of the query is wrong", "change it")
LABEL_STUDIO: Final = Kind(
    "label-studio",
    400,
    "Label Studio asks for something that cannot be answered",
    "paste the labeling configuration of the documentation",
)
UNAUTHORIZED: Final = Kind(
    "unauthorized",
    401,
    "a key is needed",
    "send Authorization: Bearer with a key of the operator's",
)
ORIGIN: Final = Kind(
    "origin",
    403,
    "pages of this origin may not ask",
    "have the operator allow it, by --allow-origin",
)
PICTURE_SOURCE: Final = Kind(
    "picture-source",
    403,
    "the picture is of an origin that is not configured",
    "have the operator name it by --picture-origin",
)
NOT_KEPT: Final = Kind(
    "not-kept",
    404,
    "the picture, or the mask, is not kept",
    "send the picture again, or the prompt that gave the mask",
    (NotKeptError,),
)
NOT_FOUND: Final = Kind(
    "not-found", 404, "there is nothing at this address", "see /v1/openapi.json"
)
METHOD: Final = Kind("method", 405, "the address has no such method", "see /v1/openapi.json")
SLOW_UPLOAD: Final = Kind(
    "slow-upload", 408, "the body did not come in time", "send it faster, or give a longer timeout"
)
CONTENT: Final = Kind(
    "too-large", 413, "the body is above a limit", "send a smaller one; the detail says how"
)
MEDIA: Final = Kind(
    "media-type", 415, "the body is of another form", "send the file or the JSON itself as the body"
)
HOST: Final = Kind(
    "host",
    421,
    "the header Host names another server",
    "have the operator allow the name, by --allow-host",
)
INTERNAL: Final = Kind("internal", 500, "the gateway failed", _OPERATOR, (SlimSamError,))
SERVER: Final = Kind("server", 502, "the server failed", _OPERATOR, (ServerError,))
CONTRACT: Final = Kind(
    "contract", 502, "the server's models are of another version", _OPERATOR, (ContractError,)
)
ACCESS: Final = Kind(
    "access", 502, "the server refuses the gateway", _OPERATOR, (AccessDeniedError,)
)
PICTURE_FETCH: Final = Kind(
    "picture-fetch",
    502,
    "the picture could not be fetched",
    "look at what serves it; the detail says what came",
)
BUSY: Final = Kind(
    "busy", 503, "the server takes no more requests for the moment", _LATER, (ServerBusyError,)
)
FULL: Final = Kind("full", 503, "the gateway takes no more requests for the moment", _LATER)
NOT_READY: Final = Kind(
    "not-ready", 503, "the server does not serve the model (yet)", _LATER, (ModelNotReadyError,)
)
UNAVAILABLE: Final = Kind(
    "unavailable", 503, "the server cannot be reached", _LATER, (ServerUnavailableError,)
)
CANCELLED: Final = Kind(
    "cancelled", 503, "the server or the gateway stops", _LATER, (RequestCancelledError,)
)
TIMEOUT: Final = Kind(
    "timeout", 504, "no answer came in time", "give a longer timeout", (RequestTimeoutError,)
)

KINDS: Final = (
    IMAGE,
    PROMPT,
    SETTINGS,
    REFUSED,
    QUERY,
    LABEL_STUDIO,
    UNAUTHORIZED,
    ORIGIN,
    PICTURE_SOURCE,
    NOT_KEPT,
    NOT_FOUND,
    METHOD,
    SLOW_UPLOAD,
    CONTENT,
    MEDIA,
    HOST,
    INTERNAL,
    SERVER,
    CONTRACT,
    ACCESS,
    PICTURE_FETCH,
    BUSY,
    FULL,
    NOT_READY,
    UNAVAILABLE,
    CANCELLED,
    TIMEOUT,
)
"""All kinds, by status."""
_OF_ERRORS: Final = {error: kind for kind in KINDS for error in kind.errors}


class Problem(Exception):
    """A request that gets a problem for an answer.

    Args:
        kind: what is wrong.
        detail: what was expected and what came, for whoever asked.
        headers: further headers of the answer.
    """

    def __init__(self, kind: Kind, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})

    @property
    def content(self) -> dict[str, Any]:
        """The members of the problem."""
        return {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }

    def response(self, content: Mapping[str, Any] | None = None) -> Response:
        """Give the answer.

        Args:
            content: JSON of another protocol's form; None gives the problem's own.
        """
        headers = self.headers
        if self.kind.status == 503:
            headers = {"Retry-After": str(RETRY_SECONDS), **headers}
        media_type = MEDIA_TYPE if content is None else "application/json"
        return Response(json.dumps(content or self.content), self.kind.status, headers, media_type)


def problem_of(error: SlimSamError) -> Problem:
    """Translate an error of the client.

    What the caller can change is said in full. Of what the server or the operator has to change,
    the caller is told the kind alone: the message has the server's address, and is logged.
    """
    kind = next(_OF_ERRORS[one] for one in type(error).__mro__ if one in _OF_ERRORS)
    status = error.__cause__ if isinstance(error.__cause__, Status) else None
    said = str(error) if status is None else status.details
    if kind is REFUSED:
        # Without a status it is an answer of NaN, to tensors that the server made itself.
        kind = SERVER if status is None else CONTENT if TOO_LARGE in said else REFUSED
    detail = said if kind.status < 500 else f"{kind.title}; {kind.advice}"
    return Problem(kind, detail)
