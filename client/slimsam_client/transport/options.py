"""The options of requests: timeout, headers and id."""

from __future__ import annotations

import math
import pickle
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from slimsam_client.errors import SettingsError
from slimsam_client.numeric import as_number
from slimsam_client.quoting import quoted_value
from slimsam_client.transport.tracing import inject_context

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""Headers are gRPC metadata of every request, or a function that gives it, for expiring tokens."""

GENERATE_TIMEOUT: Final = 300.0
"""Seconds for everything mode in one request: a grid of 1024 points takes half a minute and more
on two cores."""

_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[ -~]*")


@dataclass(frozen=True)
class RequestOptions:
    """The options of every request.

    Attributes:
        timeout: seconds that one request may take: queueing, transport and retries included.
        headers: gRPC metadata, or a function that gives it.
        request_id: the id of the requests; None makes one for each.
        are_probes: whether the requests ask after the model's health, so that its process that has
            died is an answer to them: sent again, they would reach another instance of the model.
    """

    timeout: float
    headers: Headers | None = None
    request_id: str | None = None
    are_probes: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeout", checked_seconds(self.timeout))
        request_id = self.request_id
        if request_id is not None and (not isinstance(request_id, str) or not request_id):
            raise SettingsError(f"request_id: expected text, got {quoted_value(request_id)}")
        if not callable(self.headers):
            _checked(self.headers)

    def changed(
        self, timeout: float | None, headers: Headers | None, request_id: str | None
    ) -> RequestOptions:
        """Give these options with the arguments that are not None in place of the former ones."""
        return replace(
            self,
            timeout=self.timeout if timeout is None else timeout,
            headers=self.headers if headers is None else headers,
            request_id=self.request_id if request_id is None else request_id,
        )

    def for_generate(self, timeout: float | None, on_server: bool) -> RequestOptions:
        """Give the options of everything mode, whose one request on the server takes long.

        Args:
            timeout: the timeout that was asked for; None takes the default.
            on_server: whether it is one request on the server.
        """
        if timeout is None:
            timeout = max(self.timeout, GENERATE_TIMEOUT) if on_server else self.timeout
        return replace(self, timeout=timeout)

    def for_pickle(self) -> RequestOptions:
        """Give these options, if they can be pickled.

        Raises:
            SettingsError: the function of headers cannot be pickled.
        """
        if callable(self.headers):
            try:
                pickle.dumps(self.headers)
            except Exception as error:
                raise SettingsError(
                    "SlimSam: headers: expected a function that can be pickled, one that a module "
                    f"defines by name, got {quoted_value(self.headers)}; or make the client in the "
                    "process that uses it"
                ) from error
        return self

    def new_id(self) -> str:
        """Give the id of the next request."""
        return self.request_id or uuid.uuid4().hex

    def metadata(self) -> dict[str, str]:
        """Give the current headers, the trace context among them.

        Raises:
            SettingsError: gRPC could not send them.
        """
        given = self.headers() if callable(self.headers) else self.headers
        return inject_context(_checked(given))


def checked_seconds(seconds: float, or_zero: bool = False) -> float:
    """Check a timeout: a number of any numeric type.

    Args:
        seconds: the timeout.
        or_zero: whether it may be 0, as for a wait that asks once.

    Raises:
        SettingsError: the timeout is no number, or not above 0.
    """
    number = as_number(seconds)
    in_range = number is not None and (0 < number < math.inf or (or_zero and number == 0))
    if number is None or not in_range:
        raise SettingsError(
            f"timeout: expected seconds {'from' if or_zero else 'above'} 0, "
            f"got {quoted_value(seconds)}"
        )
    return number


def checked_header(name: object, value: object) -> tuple[str, str]:
    """Check one header; gRPC refuses some without saying which.

    Args:
        name: its name, in any case; it is sent in lower case.
        value: its value; it may be a secret, so no message shows it.

    Raises:
        SettingsError: gRPC could not send it.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name.lower()):
        raise SettingsError(
            "headers: expected names of letters, digits, '-', '_' and '.', "
            f"got {quoted_value(name)}"
        )
    name = name.lower()
    if name.endswith("-bin") or name.startswith("grpc-"):
        raise SettingsError(
            f"headers: expected names that gRPC leaves to its users, got {quoted_value(name)}: "
            "those that end in -bin are of binary values, and those that begin with grpc- its own"
        )
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise SettingsError(
            f"headers: {quoted_value(name)[1:-1]}: expected printable ASCII text, got something "
            "else; is there a newline at its end?"
        )
    return name, value


def _checked(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Check headers, and give their names in lower case."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise SettingsError(
            f"headers: expected a mapping of names to values, got {type(headers).__name__}"
        )
    checked: dict[str, str] = {}
    for given, text in headers.items():
        name, value = checked_header(given, text)
        if name in checked:
            raise SettingsError(f"headers: expected each name once, in any case, got {name} twice")
        checked[name] = value
    return checked
