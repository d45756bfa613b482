"""Simulated users before simulated servers.

A replica is what Triton makes of the repository's configurations: an upload holds an instance of
`slimsam_image` while it is encoded; clicks that wait go together into an instance of
`slimsam_click`, which asks the decoder for each of them and answers all of them at the end.
Instances share the cores, and the card where there is one, but not alike: the decoder's threads
wait for each other more often than the encoder's, and who waits gives the core away, so where
others want the cores, too, a click gets less of them than an upload does. A replica keeps
embeddings in a cache of its own, and loses them when it is lost. Requests go by a consistent hash
of the picture to a replica that is there; what was under way at a lost one is sent again at once,
as the client does it, and what is refused after the client's backoffs.

Left out: the network, limits of rate, requests of many prompts and everything mode, clients that
leave, and what a server does at its start.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import numpy as np

from benchmarks.capacity.events import (
    FULL,
    SERVED,
    Clock,
    Process,
    Processor,
    Resume,
    Station,
    Wait,
    fork,
    start,
)
from benchmarks.capacity.sessions import Session
from benchmarks.capacity.shape import ServerShape
from benchmarks.capacity.times import Part, Request, Times
from slimsam_client.transport.retries import INITIAL_BACKOFF, MAX_BUSY_BACKOFF

LOST: Final = "lost"
PAUSE: Final = 0.1
"""Seconds, at most, until a model in Python asks another again whose queue was full."""
RING_POINTS: Final = 1024
"""Of all replicas together, at least: Envoy's default of `minimum_ring_size`."""


@dataclass(frozen=True)
class Fleet:
    """The servers.

    Attributes:
        times: of lone requests.
        shape: of each server's models.
        replicas: how many.
        pictures: that each keeps.
        timeout: seconds after which an answer is late, and nobody asks again.
        lost: of the first replica, when it is lost and when it is back, in seconds; None: never.
        ring_points: of the consistent hash, of all replicas together, at least.
    """

    times: Times
    shape: ServerShape
    replicas: int = 1
    pictures: int = 85
    timeout: float = 30.0
    lost: tuple[float, float] | None = None
    ring_points: int = RING_POINTS


@dataclass
class Job:
    """A request on its way.

    Attributes:
        kind: "upload" or "click".
        picture: its number.
        factor: how much longer than in the mean it takes.
        missed: whether it was a click on a picture that is not kept.
    """

    kind: str
    picture: int
    factor: float
    missed: bool = False


@dataclass(frozen=True)
class Answer:
    """What a user got.

    Attributes:
        kind: "upload" or "click".
        began: when it was asked for, in seconds.
        seconds: that it took, with all that it took to repeat it.
        late: whether that was longer than the timeout.
    """

    kind: str
    began: float
    seconds: float
    late: bool = False


@dataclass
class Outcome:
    """Of a simulation, or of a run against a real server.

    Attributes:
        answers: in the order in which they came.
        misses: clicks on pictures that were not kept any more.
        encoded: pictures that were encoded.
        refused: requests that found a queue full.
        broken: requests that were under way at a replica when it was lost.
        decoding: seconds in the decoder, of all clicks together, its queue left out.
    """

    answers: list[Answer] = field(default_factory=list)
    misses: int = 0
    encoded: int = 0
    refused: int = 0
    broken: int = 0
    decoding: float = 0.0

    @property
    def lasted(self) -> float:
        """Seconds until the last answer came; 0 of none."""
        return max((answer.began + answer.seconds for answer in self.answers), default=0.0)

    def percentile(
        self, kind: str, q: float, since: float = 0.0, until: float = float("inf")
    ) -> float:
        """Give the seconds that q percent of what was asked for in a time took; NaN of nothing."""
        found = [
            answer.seconds
            for answer in self.answers
            if answer.kind == kind and since <= answer.began < until
        ]
        return float(np.percentile(found, q)) if found else float("nan")

    def throughput(self, kind: str, seconds: float) -> float:
        """Answers in time per second, of the first seconds."""
        return (
            sum(
                answer.kind == kind and not answer.late and answer.began + answer.seconds <= seconds
                for answer in self.answers
            )
            / seconds
        )


class Ring:
    """A consistent hash: each replica has points on a ring, and a picture the next one's.

    Args:
        replicas: how many.
        least: points of all of them together, at least; each has as many as the others.
    """

    def __init__(self, replicas: int, least: int = RING_POINTS) -> None:
        each = -(-least // replicas)
        points = sorted(
            (_hash(f"{replica} {point}"), replica)
            for replica in range(replicas)
            for point in range(each)
        )
        self._places = [place for place, _ in points]
        self._replicas = [replica for _, replica in points]

    def find(self, picture: int, away: Sequence[int] = ()) -> int:
        """Find a picture's replica among those that are not away."""
        first = bisect.bisect(self._places, _hash(f"picture {picture}"))
        for step in range(len(self._places)):
            replica = self._replicas[(first + step) % len(self._replicas)]
            if replica not in away:
                return replica
        raise ValueError("expected a replica that is there, got none")

    def largest_share(self) -> float:
        """Give the part of the ring that the replica with the most has, in equal shares."""
        ends = [*self._places[1:], self._places[0] + 2**64]
        shares: dict[int, int] = {}
        for begin, end, replica in zip(
            self._places, ends, [*self._replicas[1:], self._replicas[0]], strict=True
        ):
            shares[replica] = shares.get(replica, 0) + end - begin
        return max(shares.values()) * len(shares) / 2**64


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Replica:
    """A server."""

    def __init__(
        self, clock: Clock, fleet: Fleet, outcome: Outcome, rng: np.random.Generator
    ) -> None:
        self._clock, self._times, self._outcome, self._rng = clock, fleet.times, outcome, rng
        self._pictures = fleet.pictures
        self._cores = Processor(clock, fleet.times.crowding)
        self._card = Processor(clock) if fleet.times.accelerator else self._cores
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._under_way: dict[int, Resume] = {}
        self._numbers = count()

        def station(name: str, execute: str) -> Station[Job]:
            model = getattr(fleet.shape, name)
            run = getattr(self, execute)
            return Station(model.instances, model.max_batch, model.max_queue, run)

        self._encoder = station("encoder", "_run_model")
        self._decoder = station("decoder", "_run_model")
        self._image = station("image", "_run_uploads")
        self._click = station("click", "_run_clicks")

    def ask(self, job: Job) -> Wait:
        """Send a request: the answer is SERVED, FULL or LOST."""

        def send(resume: Resume) -> None:
            number = next(self._numbers)
            self._under_way[number] = resume

            def answer(value: object) -> None:
                waiting = self._under_way.pop(number, None)
                if waiting is not None:  # else the replica was lost meanwhile
                    waiting(value)

            station = self._image if job.kind == "upload" else self._click
            station.ask(job)(answer)

        return send

    def around(self, job: Job) -> Process:
        """Do what is done outside of the server's models."""
        yield self._work(job, self._request(job).around)

    def lose(self) -> None:
        """Answer nobody any more."""
        waiting, self._under_way = list(self._under_way.values()), {}
        for resume in waiting:
            self._outcome.broken += 1
            resume(LOST)

    def _request(self, job: Job) -> Request:
        return self._times.upload if job.kind == "upload" else self._times.click

    def _work(self, job: Job, part: Part) -> Wait:
        return self._cores.work(part.seconds * job.factor, part.share, self._request(job).weight)

    def _keeps(self, picture: int) -> bool:
        if picture not in self._kept:
            return False
        self._kept.move_to_end(picture)
        return True

    def _run_uploads(self, jobs: list[Job]) -> Process:
        for job in jobs:
            if self._keeps(job.picture):
                yield self._work(job, self._times.kept)
                continue
            yield self._work(job, self._times.upload.own)
            yield from self._ask_model(self._encoder, job)
            self._outcome.encoded += 1
            self._kept[job.picture] = None
            self._kept.move_to_end(job.picture)
            if len(self._kept) > self._pictures:
                self._kept.popitem(last=False)

    def _run_clicks(self, jobs: list[Job]) -> Process:
        decoded = []
        for job in jobs:
            job.missed = not self._keeps(job.picture)
            if not job.missed:
                yield self._work(job, self._times.click.own)
                decoded.append(fork(self._ask_model(self._decoder, job)))
        yield from decoded

    def _ask_model(self, station: Station[Job], job: Job) -> Process:
        while (yield station.ask(job)) == FULL:
            yield self._clock.wait(PAUSE * self._rng.uniform(0.5, 1))

    def _run_model(self, jobs: list[Job]) -> Process:
        request = self._request(jobs[0])
        seconds = request.model.seconds * (1 + request.further * (len(jobs) - 1))
        factor = float(np.mean([job.factor for job in jobs]))
        began = self._clock.now
        yield self._card.work(seconds * factor, request.model.share, request.weight)
        if jobs[0].kind == "click":
            self._outcome.decoding += (self._clock.now - began) * len(jobs)


def simulate(fleet: Fleet, sessions: Sequence[Session], seed: int) -> Outcome:
    """Let users come until the last one has their last answer.

    Args:
        fleet: the servers.
        sessions: the users.
        seed: of how long each request takes, and of backoffs.
    """
    rng = np.random.default_rng(seed)
    clock, outcome = Clock(), Outcome()
    replicas = [Replica(clock, fleet, outcome, rng) for _ in range(fleet.replicas)]
    ring = Ring(fleet.replicas, fleet.ring_points)
    away: list[int] = []

    def lose() -> None:
        away.append(0)
        replicas[0].lose()

    def return_empty() -> None:
        away.clear()
        replicas[0] = Replica(clock, fleet, outcome, rng)

    def send(job: Job, deadline: float) -> Process:
        longest = INITIAL_BACKOFF
        while clock.now <= deadline:
            replica = replicas[ring.find(job.picture, away)]
            yield from replica.around(job)
            answer = yield replica.ask(job)
            if answer == SERVED:
                return
            if answer == FULL:
                outcome.refused += 1
                yield clock.wait(longest * rng.uniform(0.5, 1))
                longest = min(2 * longest, MAX_BUSY_BACKOFF)

    def draw(kind: str, picture: int) -> Job:
        spread = (fleet.times.upload if kind == "upload" else fleet.times.click).spread
        return Job(kind, picture, spread[rng.integers(len(spread))])

    def ask(kind: str, picture: int) -> Process:
        began = clock.now
        deadline = began + fleet.timeout
        job = draw(kind, picture)
        yield from send(job, deadline)
        while job.missed and clock.now <= deadline:
            outcome.misses += 1
            yield from send(draw("upload", picture), deadline)
            job.missed = False
            yield from send(job, deadline)
        seconds = clock.now - began
        outcome.answers.append(Answer(kind, began, seconds, seconds > fleet.timeout))

    def use(session: Session) -> Process:
        yield from ask("upload", session.picture)
        for think in session.thinks:
            yield clock.wait(think)
            yield from ask("click", session.picture)

    for session in sessions:
        clock.at(session.start, lambda session=session: start(use(session)))  # type: ignore[misc]
    if fleet.lost is not None:
        clock.at(fleet.lost[0], lose)
        clock.at(fleet.lost[1], return_empty)
    clock.run()
    return outcome
