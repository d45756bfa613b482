"""What an operation of the client is: a generator that yields calls and receives their answers.

No I/O happens here, so the synchronous client, the asynchronous one and the server's own model for
everything mode drive the same code.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

from slimsam_client.contract import ModelSpec
from slimsam_client.wire import Arrays

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Call:
    """One inference: a model and its input arrays, without batch axis."""

    spec: ModelSpec
    arrays: Arrays


@dataclass(frozen=True, eq=False)
class Done(Generic[T]):
    """The end of an operation."""

    result: T


Steps = Generator[Call, Arrays, T]
"""An operation: yields calls, is sent each one's answer, and returns its result.

An answer is lent until the next call: it may lie in memory that is used again. What is kept of it
is copied."""


def advance(steps: Steps[T], answer: Arrays | None) -> Call | Done[T]:
    """Go on to the next call, or to the end.

    Args:
        steps: the operation.
        answer: of its last call; None at its start.

    Returns:
        The next call, or the result. Not StopIteration, which no future can carry.
    """
    try:
        return next(steps) if answer is None else steps.send(answer)
    except StopIteration as end:
        return Done(end.value)
