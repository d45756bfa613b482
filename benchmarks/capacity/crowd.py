"""What requests cost each other on cores that they share: one user clicks beside uploads.

Lone requests do not show it, so it is taken from two short runs, with about one upload under way at
any time, and two: how much more processor time all takes, and how long a click waits for its turns
at the cores. What a simulation says of more users is its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from benchmarks.capacity.real import run_users
from benchmarks.capacity.sessions import Session
from benchmarks.capacity.shape import ServerShape
from benchmarks.capacity.simulation import Fleet, Outcome, simulate
from benchmarks.capacity.times import Times
from slimsam_server import EmbeddedServer

PERIODS: Final = (2.5, 1.25)
"""From one upload to the next, of what a lone one takes: beside clicks it takes twice that."""
LONGEST: Final = 0.25
"""No click waits longer for its turns, in seconds."""
HALVINGS: Final = 8
ROUNDS: Final = 2
SIMULATIONS: Final = 3


def measure_crowd(
    server: EmbeddedServer, shape: ServerShape, times: Times, uploads: int
) -> tuple[Times, float]:
    """Let a user click beside uploads, and find what lone requests do not show.

    Args:
        server: on this machine.
        shape: its configurations'.
        times: of lone requests.
        uploads: how many, in the run in which they are fewer.

    Returns:
        The times with `crowding` and the clicks' `waits`; and the share of the machine that others
        took meanwhile, in the run in which they took more.
    """
    all_sessions = [
        crowd_sessions(times, round(uploads * PERIODS[0] / period), period) for period in PERIODS
    ]
    runs = [run_users(server, sessions) for sessions in all_sessions]
    cores = len(os.sched_getaffinity(0))
    busy = sum(used.own for _, used in runs) / cores
    times = replace(times, crowding=crowding(times, all_sessions, busy))
    outcomes = [outcome for outcome, _ in runs]
    return fit_waits(times, shape, all_sessions, outcomes), max(used.others for _, used in runs)


def crowd_sessions(times: Times, uploads: int, period: float) -> list[Session]:
    """Make a user who clicks without a pause for as long as others send a picture by turns."""
    gap = period * times.upload.seconds
    clicks = max(1, round(uploads * gap / (1.5 * times.click.seconds)))
    others = [Session(number * gap, number, ()) for number in range(1, uploads + 1)]
    return [Session(0.0, 0, (0.0,) * clicks), *others]


def crowding(times: Times, runs: Sequence[Sequence[Session]], busy: float) -> float:
    """Say how much more than alone requests take, in seconds of the whole machine."""
    sessions = [session for run in runs for session in run]
    clicks = sum(len(session.thinks) for session in sessions)
    return max(1.0, busy / times.busy(len(sessions), 0, clicks)["cores"])


def fit_waits(
    times: Times,
    shape: ServerShape,
    runs: Sequence[Sequence[Session]],
    outcomes: Sequence[Outcome],
) -> Times:
    """Find the clicks' waits with which simulations of these users are like their runs.

    Args:
        times: of lone requests, and the crowding.
        shape: of the server's models.
        runs: the users of each of `PERIODS`.
        outcomes: of them.
    """
    once = twice = 0.0
    for _ in range(ROUNDS):  # each run has moments of the other
        once = _fit(1, _with_waits(times, (once, twice)), shape, runs[0], outcomes[0])
        twice = _fit(2, _with_waits(times, (once, twice)), shape, runs[1], outcomes[1])
    return _with_waits(times, (once, twice))


def _fit(
    uploads: int,
    times: Times,
    shape: ServerShape,
    sessions: Sequence[Session],
    outcome: Outcome,
) -> float:
    """Find the wait with which clicks beside so many uploads take as long as they did."""
    once, twice = times.click.waits
    measured = _mean_click([outcome], uploads)
    least, most = 0.0, LONGEST
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        waits = (middle, twice) if uploads == 1 else (once, middle)
        fleet = Fleet(_with_waits(times, waits), shape)
        simulated = [simulate(fleet, sessions, seed) for seed in range(SIMULATIONS)]
        if not _mean_click(simulated, uploads) <= measured:  # nothing to compare: no wait
            most = middle
        else:
            least = middle
    return least


def _with_waits(times: Times, waits: tuple[float, float]) -> Times:
    return replace(times, click=replace(times.click, waits=waits))


def _mean_click(outcomes: Sequence[Outcome], uploads: int) -> float:
    """Of clicks that were asked for beside one upload, or beside 2 and more; NaN of none.

    Of more than two, the others wait: the models have two instances.
    """
    found = []
    for outcome in outcomes:
        spans = [
            (answer.began, answer.began + answer.seconds)
            for answer in outcome.answers
            if answer.kind == "upload"
        ]
        found += [
            answer.seconds
            for answer in outcome.answers
            if answer.kind == "click"
            and min(2, sum(begin <= answer.began < end for begin, end in spans)) == uploads
        ]
    return sum(found) / len(found) if found else float("nan")
