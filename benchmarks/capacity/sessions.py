"""Users who come, send a picture, and click on it: drawn once, for simulations and real servers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Users:
    """How users come and what they do.

    Attributes:
        rate: users per second, in the mean.
        clicks: of each, on one picture.
        think: mean seconds from an answer to the next click, exponentially distributed.
        kept: of the users, how many take up a picture that somebody had before.
        recent: which of them: one of so many last ones, each as likely.
        burst: how many times as many come in a burst as in the mean; 1 is a Poisson process.
            Between bursts nobody comes.
        burst_seconds: a burst's mean length, exponentially distributed as the times between are.
    """

    rate: float
    clicks: int
    think: float
    kept: float = 0.0
    recent: int = 100
    burst: float = 1.0
    burst_seconds: float = 1.0


@dataclass(frozen=True)
class Session:
    """One user's visit.

    Attributes:
        start: seconds, at which the picture is sent.
        picture: its number; equal numbers are one picture.
        thinks: seconds before each click, from the answer before it.
    """

    start: float
    picture: int
    thinks: tuple[float, ...]


def draw_sessions(users: Users, seconds: float, rng: np.random.Generator) -> list[Session]:
    """Draw the users of some seconds.

    Their number is what comes in the mean, so that runs of equal length have equal work; where they
    fall is as in a Poisson process of so many.
    """
    count = max(1, round(users.rate * seconds))
    starts = _starts(users, count, seconds, rng)
    thinks = rng.exponential(users.think, (count, users.clicks))
    pictures = np.arange(count)
    for number in np.flatnonzero(rng.uniform(size=count) < users.kept):
        if number:
            pictures[number] = pictures[rng.integers(max(0, number - users.recent), number)]
    return [
        Session(float(start), int(picture), tuple(map(float, waits)))
        for start, picture, waits in zip(starts, pictures, thinks, strict=True)
    ]


def _starts(
    users: Users, count: int, seconds: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    if users.burst == 1:
        return np.sort(rng.uniform(0, seconds, count))
    begins, ends = _bursts(users, seconds, rng)
    # Uniform over the time of all bursts, put end to end.
    lasting = np.cumsum(ends - begins)
    drawn = np.sort(rng.uniform(0, lasting[-1], count))
    burst = np.searchsorted(lasting, drawn)
    return np.asarray(ends[burst] - (lasting[burst] - drawn), np.float64)


def _bursts(
    users: Users, seconds: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give when bursts begin and end; there is one at least, since somebody comes."""
    calm = users.burst_seconds * (users.burst - 1)
    begins, ends, now = [], [], 0.0
    if rng.uniform() > 1 / users.burst:
        now = rng.exponential(calm)
    while now < seconds:
        begins.append(now)
        ends.append(min(now + rng.exponential(users.burst_seconds), seconds))
        now = ends[-1] + rng.exponential(calm)
    if not begins:
        return np.array([0.0]), np.array([min(seconds, users.burst_seconds)])
    return np.array(begins), np.array(ends)
