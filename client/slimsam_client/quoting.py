"""Quotations of foreign text in messages: short, on one line, and harmless to a terminal."""

from __future__ import annotations

from typing import Final

MAX_QUOTED: Final = 120
"""A quotation has at most this many characters; longer text loses its middle."""


def quoted(text: str, most: int = MAX_QUOTED) -> str:
    """Give text for a message: control characters escaped, at most `most` characters."""
    if len(text) > 2 * most:
        text = text[:most] + text[-most:]  # more of it would not be shown anyway
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
    if len(shown) <= most:
        return shown
    tail = most * 2 // 3  # a path says most at its end
    return f"{shown[: most - tail - 3]}...{shown[-tail:]}"


def quoted_value(value: object) -> str:
    """Give the `repr` of any value likewise, or its type where it has none."""
    try:
        return quoted(repr(value))
    except Exception:  # integers of thousands of digits have none, and classes may fail
        return f"a {type(value).__name__}"
