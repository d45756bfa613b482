"""The simulation beside a real server on this machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.capacity.crowd import fit_crowd, measure_crowd
from benchmarks.capacity.processor_time import read_processor_time
from benchmarks.capacity.real import lone_times, run_users
from benchmarks.capacity.sessions import Users, draw_sessions
from benchmarks.capacity.shape import ServerShape
from benchmarks.capacity.simulation import Fleet, Outcome, simulate
from benchmarks.capacity.times import Times, between
from slimsam_server import EmbeddedServer

WITHIN: Final = 0.25
"""What the simulation's throughput and 95th percentile may differ by from the server's."""
QUIET: Final = 0.1
"""The share of the machine that others may take in a run that counts."""
LOOK_SECONDS: Final = 3.0
"""For so long others are watched before a run."""
SIMULATIONS: Final = 5
"""Of each run: the same users, other draws of how long each request takes."""
THINK: Final = 1.0
"""Mean seconds from a mask to the next click."""
KINDS: Final = ("upload", "click")
HEADER: Final = (
    f"{'clicks':>6}{'share':>7}  {'request':<8}{'per s':>8}{'simulated':>11}{'p50 s':>8}"
    f"{'simulated':>11}{'p95 s':>8}{'simulated':>11}{'ratio':>7}{'others':>8}{'runs':>6}"
)


@dataclass(frozen=True)
class Level:
    """How much is asked of the server.

    Attributes:
        clicks: of each user, on the picture that they have sent.
        share: of the machine, what all users' requests take together.
    """

    clicks: int
    share: float


@dataclass(frozen=True)
class Side:
    """One kind of request in one run, or the median of several.

    Attributes:
        throughput: answers per second.
        p50, p95: seconds.
    """

    throughput: float
    p50: float
    p95: float


@dataclass(frozen=True)
class Run:
    """One run against the server, and the simulation of the same users.

    Attributes:
        level: of it.
        measured, simulated: by the kind of request.
        others: share of the machine that other processes took: in the run, or in those of the lone
            requests before and after it or of the crowd, whichever had the most.
        load: of the machine, as the system has it for a minute.
        late: answers that did not come in time.
    """

    level: Level
    measured: dict[str, Side]
    simulated: dict[str, Side]
    others: float
    load: float
    late: int

    @property
    def counts(self) -> bool:
        """Whether others left the machine to it."""
        return self.others <= QUIET


@dataclass(frozen=True)
class Row:
    """All runs of one level, for one kind of request: medians.

    Attributes:
        level: of them.
        kind: "upload" or "click".
        measured, simulated: the sides.
        others: share of the machine that other processes took, in the run with the most.
        runs: how many.
        counts: whether others left the machine to all of them.
    """

    level: Level
    kind: str
    measured: Side
    simulated: Side
    others: float
    runs: int
    counts: bool

    @property
    def ratio(self) -> float:
        """The simulated 95th percentile over the measured one."""
        return self.simulated.p95 / self.measured.p95

    def missed(self) -> Iterator[str]:
        """Say what is not within the bound."""
        pairs = {
            "answers per second": (self.measured.throughput, self.simulated.throughput),
            "seconds at the 95th percentile": (self.measured.p95, self.simulated.p95),
        }
        for name, (measured, simulated) in pairs.items():
            if not abs(simulated - measured) <= WITHIN * measured:
                yield (
                    f"{self.level.clicks} clicks at {self.level.share:.0%}, {self.kind}: expected "
                    f"{measured:.3g} {name} within {WITHIN:.0%}, simulated {simulated:.3g}"
                )

    def __str__(self) -> str:
        m, s = self.measured, self.simulated
        note = "" if self.counts else " (does not count)"
        return (
            f"{self.level.clicks:6}{self.level.share:7.0%}  {self.kind:<8}{m.throughput:8.2f}"
            f"{s.throughput:11.2f}{m.p50:8.3f}{s.p50:11.3f}{m.p95:8.3f}{s.p95:11.3f}"
            f"{self.ratio:7.2f}{self.others:8.0%}{self.runs:6}{note}"
        )


def compare(
    server: EmbeddedServer,
    shape: ServerShape,
    levels: Sequence[Level],
    rounds: int,
    seconds: float,
    requests: int,
    patience: float,
) -> Iterator[tuple[Times, Run]]:
    """Run every level in some rounds, each with requests measured alone before and after it.

    A run begins when others leave the machine alone, and is made again if they did not do so to its
    end; as long as there is patience.

    Args:
        server: on this machine.
        shape: its configurations'.
        levels: what to ask of it.
        rounds: of all levels.
        seconds: for which users come.
        requests: lone ones of each kind, before each run and after it.
        patience: seconds that may be spent on waiting, and on runs that do not count.
    """
    for seed in range(rounds):
        for level in levels:
            while True:
                began = time.monotonic()
                waited = wait_for_quiet(patience)
                times, run = one_run(server, shape, level, seed, seconds, requests)
                patience -= waited if run.counts else time.monotonic() - began
                if run.counts or patience <= 0:
                    break
                print(f"others took {run.others:.0%} of the machine: again", flush=True)
            yield times, run


def wait_for_quiet(patience: float) -> float:
    """Wait until others leave the machine alone, or patience ends; give the seconds waited."""
    if patience <= 0:
        return 0.0
    began = time.monotonic()
    while True:
        before = read_processor_time([os.getpid()])
        time.sleep(LOOK_SECONDS)
        waited = time.monotonic() - began
        quiet = read_processor_time([os.getpid()]).since(before).others <= QUIET / 2
        if quiet or waited > patience:
            return waited


def one_run(
    server: EmbeddedServer,
    shape: ServerShape,
    level: Level,
    seed: int,
    seconds: float,
    requests: int,
) -> tuple[Times, Run]:
    """Measure what requests take, let users come, and simulate the same users.

    What lone requests take changes within minutes where a machine is shared with others, so theirs
    are measured after the run, too, and what others cost them is found from both.
    """
    times, others = lone_times(server, requests)
    crowd = measure_crowd(server, times, 2 * requests)
    user = sum(times.busy(1, 0, level.clicks).values())
    rng = np.random.default_rng(seed)
    sessions = draw_sessions(Users(level.share / user, level.clicks, THINK), seconds, rng)
    outcome, used = run_users(server, sessions)
    after, others_after = lone_times(server, requests)
    times = fit_crowd(between(times, after), shape, crowd)
    fleet = Fleet(times, shape)
    simulated = [simulate(fleet, sessions, number) for number in range(SIMULATIONS)]
    return times, Run(
        level,
        {kind: side([outcome], kind, seconds) for kind in KINDS},
        {kind: side(simulated, kind, seconds) for kind in KINDS},
        max(others, crowd.others, used.others, others_after),
        os.getloadavg()[0],
        sum(answer.late for answer in outcome.answers),
    )


def side(outcomes: Sequence[Outcome], kind: str, seconds: float) -> Side:
    """Take the medians of some outcomes."""
    return Side(
        statistics.median(outcome.throughput(kind, seconds) for outcome in outcomes),
        *(statistics.median(outcome.percentile(kind, q) for outcome in outcomes) for q in (50, 95)),
    )


def rows(runs: Sequence[Run]) -> list[Row]:
    """Take the medians of each level's runs: of those that count, if any do."""
    found = []
    for level in dict.fromkeys(run.level for run in runs):
        own = [run for run in runs if run.level == level]
        own = [run for run in own if run.counts] or own
        for kind in KINDS:
            measured, simulated = (
                _median([getattr(run, name)[kind] for run in own])
                for name in ("measured", "simulated")
            )
            others = max(run.others for run in own)
            found.append(Row(level, kind, measured, simulated, others, len(own), own[0].counts))
    return found


def _median(sides: Sequence[Side]) -> Side:
    return Side(
        *(
            statistics.median(getattr(one, name) for one in sides)
            for name in ("throughput", "p50", "p95")
        )
    )
