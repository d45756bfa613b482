"""Where a request's key is, and how a problem is told, below the addresses of each protocol.

Annotation tools speak protocols of their own, and show their users no problem JSON.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response

from slimsam_gateway.problems import UNAUTHORIZED, Problem

X_ANYLABELING: Final = "/x-anylabeling"
LABEL_STUDIO: Final = "/label-studio"
CVAT: Final = ("/api/functions", "/api/function_invocations")


@dataclass(frozen=True)
class Dialect:
    """What a protocol has of its own.

    Attributes:
        prefixes: what its addresses begin with.
        header: the header that has a key.
        expected: what is expected there, for the message.
        scheme: what WWW-Authenticate asks for.
        key_of: gives a request's key; None if there is none.
        refusal: gives the answer of a problem.
    """

    prefixes: tuple[str, ...]
    header: str
    expected: str
    scheme: str
    key_of: Callable[[Headers], str | None]
    refusal: Callable[[Problem], Response]

    def unauthorized(self, headers: Headers) -> Problem:
        """Give the problem of a request without a key that is known."""
        found = "another" if headers.get(self.header) else "none"
        return Problem(
            UNAUTHORIZED,
            f"{self.header}: {self.expected}, got {found}",
            {"WWW-Authenticate": self.scheme},
        )


def dialect_of(path: str) -> Dialect:
    """Give the protocol of an address."""
    for dialect in (_X_ANYLABELING, _LABEL_STUDIO, _CVAT):
        if any(path == one or path.startswith(f"{one}/") for one in dialect.prefixes):
            return dialect
    return _REST


def _credentials(headers: Headers, scheme: str) -> str | None:
    name, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if name.lower() == scheme else None


def _password(headers: Headers) -> str | None:
    """Give the password: an address such as http://cvat:KEY@gateway has a key in its place."""
    credentials = _credentials(headers, "basic")
    if credentials is None:
        return None
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeError):
        return None
    return text.partition(":")[2]


def _with_code(problem: Problem) -> Response:
    """Tell a problem as the server of X-AnyLabeling does."""
    error = {"code": problem.kind.name, "message": problem.detail}
    return problem.response({"success": False, "error": error})


_REST: Final = Dialect(
    (),
    "Authorization",
    "expected Bearer and a key that is known",
    "Bearer",
    lambda headers: _credentials(headers, "bearer"),
    Problem.response,
)
_X_ANYLABELING: Final = Dialect(
    (X_ANYLABELING,),
    "Token",
    "expected a key that is known",
    "Token",
    lambda headers: headers.get("token"),
    _with_code,
)
_LABEL_STUDIO: Final = Dialect(
    (LABEL_STUDIO,),
    "Authorization",
    "expected Basic and a key that is known as the password",
    'Basic realm="slimsam-gateway"',
    lambda headers: _credentials(headers, "bearer") or _password(headers),
    Problem.response,
)
_CVAT: Final = Dialect(
    CVAT,
    "Authorization",
    "expected Basic and a key that is known as the password",
    'Basic realm="slimsam-gateway"',
    _password,
    Problem.response,
)
