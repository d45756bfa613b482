"""The parameters of a request's query."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Final

from starlette.datastructures import QueryParams

from slimsam_client import GenerateSettings
from slimsam_client.image.load import MAX_SIDE
from slimsam_client.quoting import quoted, quoted_value
from slimsam_gateway.problems import QUERY, Problem

TIMEOUT: Final = "timeout"
SIZE: Final = ("original_height", "original_width")
SETTINGS: Final = tuple(setting.name for setting in dataclasses.fields(GenerateSettings))

_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(e-?[0-9]{1,3})?")


def check_names(query: QueryParams, *known: str) -> None:
    """Check that a query has no other parameters, and each once.

    Raises:
        Problem: it has; a misspelt one would be left out of account otherwise.
    """
    names = [name for name, _ in query.multi_items()]
    if unknown := [name for name in names if name not in known]:
        found = quoted(", ".join(map(repr, unknown)))
        raise Problem(QUERY, f"query: expected {', '.join(known)}, got {found}")
    if len(set(names)) < len(names):
        raise Problem(QUERY, "query: expected each parameter once, got one twice")


def seconds_of(query: QueryParams, default: float, most: float) -> float:
    """Give the seconds that a request may take.

    Raises:
        Problem: `timeout` is no number above 0, or above the most.
    """
    if TIMEOUT not in query:
        return default
    value = _number(query[TIMEOUT])
    if value is None or not 0 < value <= most:
        raise Problem(
            QUERY,
            f"timeout: expected seconds above 0 and up to {most:g}, "
            f"got {quoted_value(query[TIMEOUT])}",
        )
    return float(value)


def original_size_of(query: QueryParams) -> tuple[int, int] | None:
    """Give (height, width) of a picture before it was reduced; None if it was not.

    Raises:
        Problem: one of the two is missing, or is no number of pixels.
    """
    given = [query.get(name) for name in SIZE]
    if given == [None, None]:
        return None
    sides = [_number(text or "") for text in given]
    if not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        found = quoted(", ".join(map(repr, given)))
        raise Problem(
            QUERY,
            f"{', '.join(SIZE)}: expected both, each from 1 to {MAX_SIDE:,}, got {found}",
        )
    height, width = map(int, filter(None, sides))
    return height, width


def settings_of(query: QueryParams) -> GenerateSettings:
    """Give the settings of everything mode; those that are not named have SAM's defaults.

    Raises:
        Problem: one is no number.
        SettingsError: one is outside its range.
    """
    values: dict[str, Any] = {}
    for name in SETTINGS:
        if name in query:
            value = values[name] = _number(query[name])
            if value is None:
                raise Problem(QUERY, f"{name}: expected a number, got {quoted_value(query[name])}")
    return GenerateSettings(**values)


def _number(text: str) -> int | float | None:
    """Read a finite number: an int where it has neither point nor exponent."""
    if not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdecimal():
        return int(text)
    value = float(text)
    return value if math.isfinite(value) else None
