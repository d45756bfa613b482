"""What Triton's log tells: why it failed, and that it has answered all requests."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

MAX_QUOTED: Final = 600
"""Characters of a line that are worth repeating."""
_ERROR: Final = re.compile(r"(\S+) E \d+ \S+\] (.*)|error: (.*)")
"""A line of Triton's: time, level, process, place in its source; or its last words."""
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_STOPPED: Final = b"All models are stopped, unloading models"
"""What 2.51 says (InferenceServer::Stop, server.cc) when no inference is in flight anymore."""
_HARMLESS: Final = (
    # Of every start: parameters that a configuration leaves to the backend, and no GPU.
    "error when reading parameters",
    "CudaDriverHelper has not been initialized",
    "unable to create stream",
    "CUDA driver version is insufficient",
)


def reason(log: Path, start: int = 0, since: float | None = None) -> str | None:
    """Find the error that Triton's log ends with.

    Args:
        log: the file; there need not be one.
        start: how many bytes of it to leave out: what came before is no reason.
        since: the same as a time, in seconds of time.time; None leaves nothing out.

    Returns:
        The first model's error that loading failed with, else the last error; None if the log has
        none.
    """
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    earliest = "" if since is None else time.strftime(_TIME, time.gmtime(since))
    errors = [
        (found[2] or found[3]).strip().strip('"')
        for found in map(_ERROR.fullmatch, lines)
        if found
        and not any(text in found[0] for text in _HARMLESS)
        # Written so, times are in order as texts; the last words have none.
        and (found[1] is None or found[1] >= earliest)
    ]
    # A model that failed takes others along, which then say less.
    failed = [error for error in errors if error.startswith("failed to load '")]
    chosen = (failed[:1] or errors[-1:] or [None])[0]
    return chosen if chosen is None else chosen[:MAX_QUOTED]


def models_are_stopped(log: Path, start: int) -> bool:
    """Say whether Triton, asked to end, has finished the inferences that were in flight.

    What it does after that, unloading models, takes seconds and matters to nobody.

    Args:
        log: the file; there need not be one.
        start: how many bytes of it there were before.
    """
    try:
        with log.open("rb") as file:
            file.seek(start)
            return _STOPPED in file.read()
    except OSError:
        return False
