"""Requests that fail by themselves within a short timeout, on a machine that may stand still."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pytest

from slimsam_client import RequestTimeoutError, SlimSamError

SECONDS: Final = (2.0, 10.0, 50.0)


def assert_fails(
    ask: Callable[[float], object], expected: type[SlimSamError], message: str
) -> None:
    """Expect an error of a request that is repeated until its timeout.

    Args:
        ask: sends it, with a timeout in seconds: a longer one where nothing came within it.
        expected: the error's class.
        message: a pattern that its text has.
    """
    for seconds in SECONDS:
        with pytest.raises(SlimSamError) as caught:
            ask(seconds)
        if not isinstance(caught.value, RequestTimeoutError):
            break
    assert isinstance(caught.value, expected) and re.search(message, str(caught.value)), caught
