"""What one inference asks of the server: a generator of calls of tritonclient, without I/O.

Through shared memory one inference may be several calls, for regions must be registered first. Both
connections drive the same generators, with and without `await`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from slimsam_client.calls import Done
from slimsam_client.errors import SlimSamError

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Rpc:
    """One call; whoever makes it adds headers and what is left of the timeout.

    Attributes:
        method: one that both clients of tritonclient have.
        arguments: its arguments.
        again: whether to repeat it while the server is away.
    """

    method: str
    arguments: dict[str, Any]
    again: bool = False


@dataclass(frozen=True)
class Pause:
    """Some seconds before the next call."""

    seconds: float


Exchange = Generator[Rpc | Pause, Any, T]
"""Yields calls, is sent what they return or thrown what they raise, and returns its result."""


def proceed(exchange: Exchange[T], outcome: object) -> Rpc | Pause | Done[T]:
    """Go on to the next call, or to the end.

    Args:
        exchange: the generator.
        outcome: what its last call returned, or the SlimSamError that it raised; None at the start
            and after a pause.
    """
    try:
        if isinstance(outcome, SlimSamError):
            return exchange.throw(outcome)
        return exchange.send(outcome)
    except StopIteration as end:
        return Done(end.value)
