"""Messages of the command: one line each, whatever is in the names of files."""

from __future__ import annotations

import io
import sys


def printable(text: object) -> str:
    """Escape what moves a terminal's cursor, breaks lines, or stands for bytes that are no text."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def complain(text: object) -> None:
    """Print on standard error what is wrong."""
    print(f"slimsam: {printable(text)}", file=sys.stderr)


def escape_unencodable() -> None:
    """Have standard output escape what its encoding lacks, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
