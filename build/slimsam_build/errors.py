"""What can go wrong in a build, and how it is said.

BuildError
├── CheckpointError    the checkpoint cannot be had, or is not one that this serves
├── TargetError        a target cannot do what was asked of it
├── RepositoryError    the model repository is not one, or cannot be written to
└── ParityError        an artifact does not compute what `SamModel` computes
"""

from __future__ import annotations

import re
from typing import Final

MAX_QUOTED: Final = 300
"""Characters of a library's message within one of ours."""
_COLOR: Final = re.compile(r"\x1b\[[0-9;]*m")


class BuildError(Exception):
    """A build failed; the message says what was expected, what was found and what to do."""


class CheckpointError(BuildError):
    """The checkpoint cannot be had, or is not one that this project serves."""


class TargetError(BuildError):
    """A target cannot do what was asked of it."""


class RepositoryError(BuildError):
    """The directory is not a SlimSAM model repository, or cannot be written to."""


class ParityError(BuildError):
    """An artifact does not compute what `SamModel` computes."""


def one_line(text: str) -> str:
    """Take colors, line breaks and other control characters out of a text."""
    printable = "".join(c if c.isprintable() else "\n" for c in _COLOR.sub("", text))
    return re.sub(r" *\n[ \n]*", " ", printable).strip()


def reason(error: BaseException) -> str:
    """Say what an exception of a library says: its type and its text, on one line, not too long."""
    text = one_line(str(error))
    if len(text) > MAX_QUOTED:
        text = f"{text[:MAX_QUOTED]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
