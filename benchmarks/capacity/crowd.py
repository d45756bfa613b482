"""What requests cost each other on cores that they share: a user clicks beside uploads.

Lone requests do not show it, so it is taken from a short run in which more pictures come than a
server can encode, and one user clicks without a pause: how much longer all of it takes than lone
requests would on the same cores, and how much of them a click gets beside uploads. What a
simulation says of more users is its own.

Time is compared, and not processor time, which leaves out the moments in which a core has nothing
to do though requests wait: a thread waits for another then, or for a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import tritonclient.grpc as triton

from benchmarks.capacity.real import run_users
from benchmarks.capacity.sessions import Session
from benchmarks.capacity.shape import ServerShape
from benchmarks.capacity.simulation import Fleet, Outcome, simulate
from benchmarks.capacity.times import Times
from benchmarks.server_statistics import STAGES, read_change, read_statistics
from slimsam_client.contract import CLICK, DECODER
from slimsam_server import EmbeddedServer

PERIOD: Final = 0.5
"""From one upload to the next, of what a lone one takes."""
LONGEST: Final = 8
"""So many times as long as alone a click takes at most, or uploads end before the clicks do."""
LEAST: Final = 0.1
"""A click's weight is not less, nor more than 1 over it."""
MOST: Final = 3.0
"""Crowding is not more."""
HALVINGS: Final = 8
ROUNDS: Final = 2
SIMULATIONS: Final = 3


@dataclass(frozen=True)
class Crowd:
    """What was measured of users at once.

    Attributes:
        sessions: the users.
        decoding: seconds of a click in the decoder, in the mean and without its queue.
        lasted: seconds until the last of them had the last answer.
        others: the share of the machine that others took meanwhile.
    """

    sessions: Sequence[Session]
    decoding: float
    lasted: float
    others: float


def measure_crowd(server: EmbeddedServer, times: Times, uploads: int) -> Crowd:
    """Let a user click beside uploads.

    Args:
        server: on this machine.
        times: of lone requests.
        uploads: how many.
    """
    sessions = crowd_sessions(times, uploads)
    clicks = _clicks(sessions)
    with triton.InferenceServerClient(server.grpc_url) as client:
        before = read_statistics(client)
        outcome, used = run_users(server, sessions)
        # With a click before the users come, which is alone.
        decoder = read_change(client, before, CLICK.name, clicks + 1)[DECODER.name]
    seconds = sum(decoder.stages[stage] for stage in STAGES if stage != "queue")
    decoding = (seconds - times.click.model.seconds) / clicks
    return Crowd(sessions, decoding, outcome.lasted, used.others)


def crowd_sessions(times: Times, uploads: int) -> list[Session]:
    """Make a user who clicks without a pause, and others who send pictures to the end of that."""
    first, gap = times.upload.seconds, PERIOD * times.upload.seconds
    clicks = max(1, round(uploads * times.upload.seconds / (LONGEST * times.click.seconds)))
    others = [Session(first + number * gap, number + 1, ()) for number in range(uploads)]
    return [Session(0.0, 0, (0.0,) * clicks), *others]


def fit_crowd(times: Times, shape: ServerShape, crowd: Crowd) -> Times:
    """Find the `crowding` and the clicks' `weight` with which simulated users are like these were.

    Args:
        times: of lone requests.
        shape: of the server's models.
        crowd: the users.
    """
    times = replace(times, crowding=1.0)
    for _ in range(ROUNDS):  # each depends on the other, a little
        times = _fit_crowding(_fit_weight(times, shape, crowd), shape, crowd)
    return _fit_weight(times, shape, crowd)


def _fit_crowding(times: Times, shape: ServerShape, crowd: Crowd) -> Times:
    """Find the crowding with which all of it lasts as long as it did; less than 1 is chance."""
    least, most = 1.0, MOST
    for _ in range(HALVINGS):
        middle = (least * most) ** 0.5
        times = replace(times, crowding=middle)
        if _mean([one.lasted for one in _simulated(times, shape, crowd)]) > crowd.lasted:
            most = middle
        else:
            least = middle
    return replace(times, crowding=least)


def _fit_weight(times: Times, shape: ServerShape, crowd: Crowd) -> Times:
    """Find the weight with which clicks are in the decoder for as long as they were."""
    clicks = _clicks(crowd.sessions)
    least, most = LEAST, 1 / LEAST
    for _ in range(HALVINGS):
        middle = (least * most) ** 0.5
        times = replace(times, click=replace(times.click, weight=middle))
        simulated = _mean([one.decoding for one in _simulated(times, shape, crowd)])
        if simulated > crowd.decoding * clicks:
            least = middle
        else:
            most = middle
    return times


def _simulated(times: Times, shape: ServerShape, crowd: Crowd) -> list[Outcome]:
    return [simulate(Fleet(times, shape), crowd.sessions, seed) for seed in range(SIMULATIONS)]


def _clicks(sessions: Sequence[Session]) -> int:
    return sum(len(session.thinks) for session in sessions)


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
