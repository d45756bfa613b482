"""Times several calls in turn, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

Call = Callable[[], Any]
Timer = Callable[[Call], tuple[float, Any]]
"""Makes a call and gives its seconds and its output."""

QUICK_SECONDS: Final = 0.5
"""A call that takes less is made several times in its turn."""
QUICK_CALLS: Final = 3
"""So often; and once before, uncounted, because another side has just used the caches."""
FEWEST_ROUNDS: Final = 3


class Unsupported(Exception):
    """A side that cannot do something; its text says why."""


@dataclass(frozen=True)
class First:
    """What each side's first call gave, which warms it up and is compared.

    Attributes:
        outputs: by side.
        seconds: by side, which say how many rounds can be afforded.
        absent: by side that cannot do it, why.
    """

    outputs: dict[str, Any]
    seconds: dict[str, float]
    absent: dict[str, str]

    @property
    def quick(self) -> set[str]:
        """Sides whose calls take little time, and are made several times in a turn."""
        return {side for side, seconds in self.seconds.items() if seconds < QUICK_SECONDS}


def wall_clock(call: Call) -> tuple[float, Any]:
    """Time a call that has done its work when it returns."""
    start = time.perf_counter()
    output = call()
    return time.perf_counter() - start, output


def first_calls(calls: Mapping[str, Call], timer: Timer = wall_clock) -> First:
    """Call each side once."""
    first = First({}, {}, {})
    for side, call in calls.items():
        try:
            first.seconds[side], first.outputs[side] = timer(call)
        except Unsupported as reason:
            first.absent[side] = str(reason)
    return first


def affordable_rounds(first: First, rounds: int, budget: float) -> int:
    """How many rounds to make: as wanted, or what fits into a budget of seconds, but some.

    Args:
        first: how long each side takes.
        rounds: wanted.
        budget: seconds that the rounds should take together.
    """
    affordable = int(budget / max(sum(first.seconds.values()), 1e-9))
    return min(rounds, max(affordable, FEWEST_ROUNDS))


def in_turn(
    calls: Mapping[str, Call],
    rounds: int,
    quick: Collection[str] = (),
    timer: Timer = wall_clock,
) -> dict[str, list[float]]:
    """Time calls in rounds, each side in its turn.

    Args:
        calls: by side.
        rounds: how many.
        quick: sides that call several times in a turn.
        timer: of a call.

    Returns:
        All times, by side.
    """
    seconds: dict[str, list[float]] = {side: [] for side in calls}
    for _ in range(rounds):
        for side, call in calls.items():
            if side in quick:
                call()
            for _ in range(QUICK_CALLS if side in quick else 1):
                seconds[side].append(timer(call)[0])
    return seconds
