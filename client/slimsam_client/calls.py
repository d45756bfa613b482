"""The protocol of the client's operations: generators that yield calls and receive their answers.

An operation sends no request itself, so the synchronous client, the asynchronous one and the
server's own model for everything mode drive the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from slimsam_client.contract import Arrays, ModelSpec

T = TypeVar("T")
Y = TypeVar("Y")


@dataclass(frozen=True, eq=False)
class Call:
    """One inference.

    Attributes:
        spec: the model.
        arrays: its inputs, without a batch axis.
        digest: the digest of the checkpoint that must be served, because the inputs mean nothing
            to another; None if any will do.
        continues: whether it shares the timeout of the call before it, because both are one
            request to the user.
        priority: in the queue of the model, as Triton has it: 1 is served first; None is the last.
        image_key: what all requests on a picture that the server keeps have in common, for proxies
            that send them to one server; None if any will do.
        turn: which of the servers is asked first, where the client itself has a list of them: 0 for
            the one that a picture's requests prefer, 1 for the next of them, and so on.
    """

    spec: ModelSpec
    arrays: Arrays
    digest: str | None = None
    continues: bool = False
    priority: int | None = None
    image_key: str | None = None
    turn: int = 0


@dataclass(frozen=True)
class AskDigest:
    """The question which checkpoint is served.

    The answer is its digest, or None where the server does not say.

    Attributes:
        answered: whether the checkpoint is meant that gave the last answer. Of a server that does
            not say with its answers, the digest is the one that was asked for before.
        continues: whether it shares the timeout of the call before it.
    """

    answered: bool = False
    continues: bool = False


@dataclass(frozen=True, eq=False)
class Done(Generic[T]):
    """The end of a generator.

    Attributes:
        result: what it returned.
    """

    result: T


Steps = Generator[Call, Arrays, T]
"""An operation yields calls, is sent each one's answer, and returns its result.

An answer is lent until the next call, because it may lie in memory that is used again. What is kept
of it has to be copied."""
Operation = Generator[Call | AskDigest, Any, T]
"""This is the same, but it may also ask which checkpoint is served."""

Check = Callable[[], object]
"""Long computations call a check between their parts; what it raises ends them."""


def unwatched() -> None:
    """Be the check of what nothing ends."""


def advance(steps: Generator[Y, Any, T], outcome: object) -> Y | Done[T]:
    """Advance a generator to its next step, or to its end.

    Args:
        steps: the generator.
        outcome: what its last step came to: an answer, which is sent to it, or an error, which is
            thrown into it; None at the start.

    Returns:
        The next step, or the result in a Done; a future could not carry StopIteration.
    """
    try:
        if isinstance(outcome, Exception):
            return steps.throw(outcome)
        return steps.send(outcome)
    except StopIteration as end:
        return Done(end.value)
