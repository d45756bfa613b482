"""Checks of JSON by a JSON Schema: the part of it that prompts need, with messages of our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from slimsam_client.errors import PromptError
from slimsam_client.quoting import quoted, quoted_value

Schema = Mapping[str, Any]
"""A schema has `anyOf`; or `enum`; or a `type`: an object with `properties`, an array with `items`,
`minItems` and `maxItems`, a string with `pattern`, a number, or a boolean. Its `title` says in a
message what was expected."""

DEEPEST: Final = 8
"""Lists within lists are told apart to this depth."""


def check_value(value: Any, schema: Schema, name: str) -> None:
    """Check what `json.loads` gave.

    Args:
        value: the value.
        schema: what it has to be.
        name: what messages call it.

    Raises:
        PromptError: it is something else; with the place, what was expected, and what came.
    """
    if "anyOf" in schema:
        _check_any(value, schema, name)
    elif not _is_of(value, schema):
        raise PromptError(f"{name}: expected {schema['title']}, got {quoted_value(value)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_value(item, schema["items"], f"{name}[{index}]")
    elif isinstance(value, dict):
        known = schema["properties"]
        for field, item in value.items():
            if field not in known:
                raise PromptError(f"{name}: expected {', '.join(known)}; got {quoted(repr(field))}")
            check_value(item, known[field], field)


def _check_any(value: Any, schema: Schema, name: str) -> None:
    """Check alternatives; complain by the one whose lists are as deep as the value's."""
    if not isinstance(value, list):
        raise PromptError(f"{name}: expected {schema['title']}, got {quoted_value(value)}")
    errors: list[PromptError] = []
    for alternative in sorted(schema["anyOf"], key=lambda one: _depth(one) != _depth(value)):
        try:
            return check_value(value, alternative, name)
        except PromptError as error:
            errors.append(error)
    raise errors[0]


def _is_of(value: Any, schema: Schema) -> bool:
    """Whether a value itself is what a schema says, whatever is in it."""
    if "enum" in schema:
        return not isinstance(value, bool | list | dict) and value in schema["enum"]
    if schema["type"] == "array":
        most = schema.get("maxItems", len(value)) if isinstance(value, list) else -1
        return isinstance(value, list) and schema.get("minItems", 0) <= len(value) <= most
    if schema["type"] == "string":
        return isinstance(value, str) and re.fullmatch(schema["pattern"], value) is not None
    if schema["type"] == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"boolean": bool, "object": dict}[schema["type"]])


def _depth(value: Any, most: int = DEEPEST) -> int:
    """Count lists within lists, of a value or of a schema."""
    if isinstance(value, Mapping) and value.get("type") == "array":
        return 1 + _depth(value["items"])
    if isinstance(value, list) and most:
        return 1 + max((_depth(item, most - 1) for item in value), default=0)
    return 0
