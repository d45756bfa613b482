"""Exit statuses of the command, and the error behind the one for wrong input."""

from __future__ import annotations

from typing import Final

from slimsam_client.errors import SlimSamError

FINE: Final = 0
FAILED: Final = 1
WRONG: Final = 2
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""

EXPLANATION: Final = """\
exit status:
  0    all is well
  1    the server could not answer, or some images of a folder failed
  2    the image, a prompt, a file or an option is wrong
  130  interrupted by Ctrl-C
Files are written whole or not at all, whatever the status.
"""


class UsageError(SlimSamError, ValueError):
    """A file or an option of the command is wrong."""
