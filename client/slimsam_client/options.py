"""What accompanies every request: its timeout, its headers and its id."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from slimsam_client.errors import SettingsError
from slimsam_client.tracing import inject_context

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""gRPC metadata of every request, or a function that gives it, for tokens that expire."""

_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[ -~]*")


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
        number = isinstance(self.timeout, int | float)
        if not number or not 0 < self.timeout < math.inf:
            raise SettingsError(f"timeout: expected seconds above 0, got {self.timeout!r}")
        if not callable(self.headers):
            _checked(self.headers)

    def changed(
        self, timeout: float | None, headers: Headers | None, request_id: str | None
    ) -> RequestOptions:
        """Give these with others in place of those that are not None."""
        return RequestOptions(
            self.timeout if timeout is None else timeout,
            self.headers if headers is None else headers,
            self.request_id if request_id is None else request_id,
        )

    def new_id(self) -> str:
        """Give the id of the next request."""
        return self.request_id or uuid.uuid4().hex

    def metadata(self) -> dict[str, str]:
        """Give the headers of now, the trace context among them.

        Raises:
            SettingsError: gRPC could not send them.
        """
        given = self.headers() if callable(self.headers) else self.headers
        return inject_context(_checked(given))


def _checked(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Headers with lower case names. Values may be secrets, so no message shows one."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise SettingsError(
            f"headers: expected a mapping of names to values, got {type(headers).__name__}"
        )
    checked = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name.lower()):
            raise SettingsError(
                f"headers: expected names of letters, digits, '-', '_' and '.', got {name!r}"
            )
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise SettingsError(
                f"headers: {name}: expected printable ASCII text, got something else; "
                "is there a newline at its end?"
            )
        checked[name.lower()] = value
    return checked
