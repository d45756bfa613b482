"""Users who click in a closed loop: whoever has a mask clicks again."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np

from benchmarks.clicks.ways import TIMEOUT, Known, Way, click
from benchmarks.scene_pictures import new_picture, random_points
from slimsam_client import SlimSam

PICTURES: Final = 4
"""What is clicked on, by turns: it is made known once, and not measured."""
POINTS: Final = 1000
"""A user goes through so many points, and begins again."""


@dataclass(frozen=True)
class Level:
    """How many users click, and on what.

    Attributes:
        users: each with a client of their own.
        hits: of a hundred clicks, how many are on a picture that is known; the others' picture is a
            new one, which is made known within the click.
    """

    users: int
    hits: int


@dataclass(frozen=True)
class Run:
    """One measurement.

    Attributes:
        rate: clicks per second.
        seconds: of each click.
        misses: how many of them were on a new picture.
    """

    rate: float
    seconds: list[float]
    misses: int


def make_known(url: str, way: Way) -> list[Known]:
    """Make the pictures known that are clicked on."""
    with SlimSam(url, timeout=TIMEOUT) as sam:
        return [way.know(sam, new_picture()) for _ in range(PICTURES)]


def closed_loop(url: str, way: Way, known: list[Known], level: Level, seconds: float) -> Run:
    """Let users click for some seconds, each once at least, and wait for their last answers.

    All of them are counted, over the time until the last one: most of it the server has enough to
    do, whichever way they click.

    Args:
        url: host:port of the server.
        way: how they click.
        known: the pictures.
        level: how many users, and hits.
        seconds: after which nobody clicks again.
    """
    numbers = count()
    lock = threading.Lock()
    latencies: list[float] = []
    misses = 0
    with ExitStack() as stack:
        clients = [stack.enter_context(SlimSam(url, timeout=TIMEOUT)) for _ in range(level.users)]
        for number, sam in enumerate(clients):  # connects, and no picture is among the oldest
            click(sam, known[number % len(known)], (1.0, 1.0))
        began = time.perf_counter()

        def use(user: int) -> None:
            nonlocal misses
            points = random_points(POINTS, seed=user)
            for turn in count():
                if turn and time.perf_counter() >= began + seconds:
                    return
                with lock:
                    is_miss = next(numbers) * (100 - level.hits) % 100 < 100 - level.hits
                picture = new_picture() if is_miss else b""
                asked = time.perf_counter()
                target = way.miss(clients[user], picture) if is_miss else known[turn % len(known)]
                click(clients[user], target, points[turn % POINTS])
                with lock:
                    latencies.append(time.perf_counter() - asked)
                    misses += is_miss

        with ThreadPoolExecutor(level.users) as pool:
            for done in [pool.submit(use, user) for user in range(level.users)]:
                done.result()
        return Run(len(latencies) / (time.perf_counter() - began), latencies, misses)


def percentile(runs: list[Run], q: float) -> float:
    """Give the seconds that q percent of all runs' clicks have taken at most."""
    return float(np.percentile([one for run in runs for one in run.seconds], q))
