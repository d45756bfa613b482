"""Timeouts that are short, so that tests are, and yet hold on a machine that is busy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from slimsam_client import RequestTimeoutError

T = TypeVar("T")

SECONDS: Final = (2.0, 10.0, 60.0)
"""What is to be said at the end of a timeout is said within one of these."""


def patiently(act: Callable[[float], T]) -> T:
    """Give what an act comes to within a timeout: the first in which the server says something.

    Args:
        act: gets the timeout, in seconds; RequestTimeoutError says that nothing was said in it.
    """
    *shorter, last = SECONDS
    for seconds in shorter:
        with suppress(RequestTimeoutError):
            return act(seconds)
    return act(last)
