"""The users of an overload: they arrive when they like, and wait no longer than their timeout.

Each is one of some clients, which repeat what a busy server refuses as the SDK does, with its own
code: backoffs within the timeout, and a window for each model and priority.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

import grpc
import numpy as np

from benchmarks.overload.requests import Kind
from slimsam_client import RequestTimeoutError, ServerBusyError, SlimSamError
from slimsam_client.calls import Done, advance
from slimsam_client.transport.exchange import Attempts, Pause, Rpc
from slimsam_client.transport.sender import Sender
from slimsam_client.transport.status import Status

CLIENTS = 32
CANCELLED_SHARE = 0.1
SOONEST_CANCEL = 0.05
"""Seconds after which a user may lose patience."""
PATIENCE: Final = 600.0
"""Seconds that the users of a closed loop wait."""


@dataclass
class Outcomes:
    """What has become of the users of one kind.

    Attributes:
        kind: its name.
        offered: users that have come.
        answered: seconds of those who were answered within the timeout.
        ends: how the others ended: refused, late, cancelled, or the name of an error.
    """

    kind: str
    offered: int = 0
    answered: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    def percentile(self, q: float) -> float:
        """Seconds that q percent of the answered have waited at most; NaN if nobody was."""
        return float(np.percentile(self.answered, q)) if self.answered else float("nan")


@dataclass(frozen=True)
class Run:
    """A measurement.

    Attributes:
        seconds: how long users came.
        outcomes: by the kind's name.
        share: of its processors' time, what this process has used.
    """

    seconds: float
    outcomes: dict[str, Outcomes]
    share: float

    def goodput(self, kind: str) -> float:
        """Users of a kind that were answered in time, per second."""
        return len(self.outcomes[kind].answered) / self.seconds


def lone(url: str, kind: Kind, seconds: float) -> Run:
    """One user after the other, for longer until there is an answer, and for `PATIENCE` at most.

    Raises:
        SystemExit: there is none in that time, or a user's request failed.
    """
    while True:
        run = closed_loop(url, kind, 1, seconds)
        outcomes = run.outcomes[kind.name]
        if outcomes.answered:
            return run
        # An answer after the end says that there was too little time. Who is refused or fails alone
        # will be so again.
        if seconds >= PATIENCE or set(outcomes.ends) != {"after the end"}:
            raise SystemExit(
                f"{kind.name}: expected an answer to a user alone within {seconds:g} s, "
                f"got {dict(outcomes.ends)}; see the server's log"
            )
        seconds = min(4 * seconds, PATIENCE)


def closed_loop(url: str, kind: Kind, concurrency: int, seconds: float) -> Run:
    """So many users, each of whom asks again after an answer."""
    return asyncio.run(_closed_loop(url, kind, concurrency, seconds))


def open_loop(url: str, rates: Sequence[tuple[Kind, float]], seconds: float, seed: int = 0) -> Run:
    """Users of some kinds, at some rates per second: a Poisson process each.

    Who came before the end is waited for; who was answered after it does not count as answered.
    """
    return asyncio.run(_open_loop(url, rates, seconds, seed))


async def _closed_loop(url: str, kind: Kind, concurrency: int, seconds: float) -> Run:
    clients = _Clients(url)
    outcomes = Outcomes(kind.name)
    end = time.monotonic() + seconds

    async def work() -> None:
        while time.monotonic() < end:
            await clients.ask(kind, PATIENCE, outcomes, end)

    async with clients:
        meter = _Meter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return Run(seconds, {kind.name: outcomes}, meter.share())


async def _open_loop(
    url: str, rates: Sequence[tuple[Kind, float]], seconds: float, seed: int
) -> Run:
    rng = np.random.default_rng(seed)
    clients = _Clients(url)
    outcomes = {kind.name: Outcomes(kind.name) for kind, _ in rates}
    users: set[asyncio.Task[None]] = set()
    end = time.monotonic() + seconds

    async def come(kind: Kind, rate: float) -> None:
        at = time.monotonic()
        while (at := at + rng.exponential(1 / rate)) < end:
            await asyncio.sleep(at - time.monotonic())
            timeout = float(rng.choice(kind.timeouts))
            impatient = rng.uniform() < CANCELLED_SHARE
            user = asyncio.create_task(clients.ask(kind, timeout, outcomes[kind.name], end))
            if impatient:
                patience = rng.uniform(SOONEST_CANCEL, timeout)
                asyncio.get_running_loop().call_later(patience, user.cancel)
            users.add(user)
            user.add_done_callback(users.discard)

    async with clients:
        meter = _Meter()
        await asyncio.gather(*(come(kind, rate) for kind, rate in rates))
        share = meter.share()
        await asyncio.gather(*users, return_exceptions=True)
    return Run(seconds, outcomes, share)


class _Meter:
    """What this process has used of its processors' time since the meter was made."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), _processor_seconds()

    def share(self) -> float:
        used = _processor_seconds() - self._used
        return used / (time.monotonic() - self._began) / len(os.sched_getaffinity(0))


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class _Clients:
    """Some clients of the SDK, each with a connection of its own."""

    def __init__(self, url: str) -> None:
        self._channels = [
            grpc.aio.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1)])
            for _ in range(CLIENTS)
        ]
        senders = [Sender(url) for _ in range(CLIENTS)]
        for sender in senders:
            sender.answered = True
        self._turns = cycle(zip(senders, self._channels, strict=True))

    async def __aenter__(self) -> _Clients:
        return self

    async def __aexit__(self, *error: object) -> None:
        for channel in self._channels:
            await channel.close()

    async def ask(self, kind: Kind, timeout: float, outcomes: Outcomes, end: float) -> None:
        """Be a user."""
        sender, channel = next(self._turns)
        outcomes.offered += 1
        began = time.monotonic()
        try:
            for rpc in kind.calls:
                await _send(sender, channel, rpc, began + timeout)
        except ServerBusyError:
            outcomes.ends["refused"] += 1
        except RequestTimeoutError:
            outcomes.ends["late"] += 1
        except SlimSamError as error:
            outcomes.ends[type(error).__name__] += 1
        except asyncio.CancelledError:
            outcomes.ends["cancelled"] += 1
        else:
            now = time.monotonic()
            if now <= end:
                outcomes.answered.append(now - began)
            else:
                outcomes.ends["after the end"] += 1


async def _send(sender: Sender, channel: grpc.aio.Channel, rpc: Rpc, deadline: float) -> None:
    attempts: Attempts[object] = sender.call(rpc, deadline)
    outcome: object = None
    try:
        while not isinstance(step := advance(attempts, outcome), Done):
            outcome = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            try:
                call = channel.unary_unary(step.path)(step.body, timeout=step.seconds_left())
                outcome = await call
            except grpc.aio.AioRpcError as error:
                outcome = Status.of(error)
    finally:
        attempts.close()
