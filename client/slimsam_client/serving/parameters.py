"""Parameters of a model's configuration, read into a dataclass of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from PIL import Image

from slimsam_client.errors import SettingsError
from slimsam_client.quoting import quoted_value

T = TypeVar("T")


def read_parameters(kind: type[T], parameters: Mapping[str, str]) -> T:
    """Make a dataclass of parameters; those that are missing have its defaults.

    Args:
        kind: a dataclass whose fields are numbers, texts, or a tuple of formats.
        parameters: names and values; further ones are left alone.

    Raises:
        SettingsError: one is no number from 1 on, or no list of formats that Pillow reads without
            the help of other programs.
    """
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in parameters:
            continue
        text = parameters[field.name]
        if isinstance(field.default, str):
            values[field.name] = text
        else:
            read = _formats if isinstance(field.default, tuple) else _number
            values[field.name] = read(field.name, text)
    return kind(**values)


def _number(name: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise SettingsError(f"{name}: expected an integer from 1 on, got {quoted_value(text)}")
    return value


def _formats(name: str, text: str) -> tuple[str, ...]:
    Image.init()
    formats = tuple(text.split())
    # Pillow hands EPS to Ghostscript, which runs the program that it is.
    unknown = [known for known in formats if known not in Image.OPEN or known == "EPS"]
    if unknown or not formats:
        raise SettingsError(
            f"{name}: expected Pillow's names of formats (JPEG, PNG, ...) with spaces between "
            f"them and EPS not among them, got {quoted_value(text)}"
        )
    return formats
