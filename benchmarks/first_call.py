"""The client's own requests, for benchmarks that send them in other ways than the client."""

from __future__ import annotations

from typing import Any

from slimsam_client.calls import AskDigest, Call, Done, Operation, advance


def first_call(steps: Operation[Any]) -> Call:
    """Take an operation's first request, and leave it there."""
    step = advance(steps, None)
    while isinstance(step, AskDigest):
        step = advance(steps, None)  # no server is asked: any checkpoint will do
    assert not isinstance(step, Done)
    return step
