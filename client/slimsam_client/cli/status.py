"""Exit statuses of the command, and the error for wrong usage."""

from __future__ import annotations

from typing import Final

from slimsam_client.errors import SlimSamError

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
"""It is 128 + SIGINT, as in shells."""

MEANINGS: Final = {
    OK: "all is well",
    FAILED: "the server could not answer, or some images of a folder failed",
    USAGE: "the image, a prompt, a file or an option is wrong, or the disk or memory is full",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""Each status has this meaning."""

EXPLANATION: Final = "\n".join(
    [
        "exit status:",
        *(f"  {status:<3}  {meaning}" for status, meaning in MEANINGS.items()),
        "Files are written whole or not at all, whatever the status.",
        "",
    ]
)


class UsageError(SlimSamError, ValueError):
    """A file or an option of the command is wrong."""
