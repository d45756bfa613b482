"""Progress of long work, on standard error if that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from slimsam_client.everything import Progress

SECONDS_BETWEEN_LINES: Final = 2.0


@contextmanager
def shown_progress(what: str, quiet: bool) -> Iterator[Progress]:
    """Show a bar while the work goes on; lines where tqdm is not installed.

    Args:
        what: name of the work, for the start of the line.
        quiet: whether to show nothing, as where standard error is no terminal.

    Yields:
        A function to call with how much is done, and how much there is.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _lines(what)
        return
    with tqdm(desc=what, file=sys.stderr, dynamic_ncols=True) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update


def _lines(what: str) -> Progress:
    last = -float("inf")

    def update(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    return update
