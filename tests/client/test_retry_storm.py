"""A fleet of clients beside a server that restarts or is busy, in simulated time.

The clients' generators of attempts are the real ones. Server, network and clock are simulated: the
server answers one request after the other, refuses what its queue has no room for, and is away for
a while at first.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as messages

from slimsam_client import (
    RequestTimeoutError,
    ServerBusyError,
    ServerUnavailableError,
    SlimSamError,
)
from slimsam_client.calls import Done, advance
from slimsam_client.contract import CONTINUED_PRIORITY
from slimsam_client.transport import sender as sender_module
from slimsam_client.transport.exchange import Attempt, Attempts, Pause, Rpc
from slimsam_client.transport.sender import LEAST_ATTEMPT, Sender
from slimsam_client.transport.status import Status

SERVICE = 0.1
QUEUE = 16
AWAY = Status("UNAVAILABLE", "failed to connect to all addresses; Connection refused")
BUSY = Status("UNAVAILABLE", "Exceeds maximum queue size")
ANSWER = messages.ModelInferResponse(model_name="m").SerializeToString()


class Simulation:
    """Clients that each have some requests, all of them since time 0.

    Attributes:
        away, refused, answered: how many attempts ended so in each second.
        outcomes: how the requests ended, and when.
        shortest: the fewest seconds that an attempt had.
    """

    def __init__(self, clients: int, requests: int, timeout: float, back: float) -> None:
        self.now = 0.0
        self.shortest = timeout
        self.away, self.refused, self.answered = Counter[int](), Counter[int](), Counter[int]()
        self.outcomes: list[tuple[type, float]] = []
        self._back = back
        self._free = back
        self._order = itertools.count()
        self._events: list[tuple[float, int, Attempts[Any], object]] = []
        for _ in range(clients):
            sender = Sender("simulated:8001")
            sender.answered = True
            for _ in range(requests):
                rpc = Rpc("ModelInfer", messages.ModelInferRequest(model_name="m"), retry=True)
                self._at(random.uniform(0, 0.5), sender.call(rpc, timeout), None)

    def run(self) -> None:
        while self._events:
            self.now, _, attempts, outcome = heapq.heappop(self._events)
            try:
                step = advance(attempts, outcome)
            except SlimSamError as error:
                self.outcomes.append((type(error), self.now))
                continue
            if isinstance(step, Done):
                self.outcomes.append((messages.ModelInferResponse, self.now))
            elif isinstance(step, Pause):
                self._at(self.now + step.seconds, attempts, None)
            else:
                time, outcome = self._serve(step)
                self._at(time, attempts, outcome)

    def _serve(self, attempt: Attempt) -> tuple[float, object]:
        second = int(self.now)
        self.shortest = min(self.shortest, attempt.deadline - self.now)
        if self.now < self._back:
            self.away[second] += 1
            return self.now, AWAY
        if self._free - self.now > QUEUE * SERVICE:
            self.refused[second] += 1
            return self.now, BUSY
        self._free = max(self._free, self.now) + SERVICE
        if self._free > attempt.deadline:
            return attempt.deadline, Status("DEADLINE_EXCEEDED", "Deadline Exceeded")
        self.answered[int(self._free)] += 1
        return self._free, ANSWER

    def _at(self, time: float, attempts: Attempts[Any], outcome: object) -> None:
        heapq.heappush(self._events, (time, next(self._order), attempts, outcome))


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*arguments: Any) -> Simulation:
        simulation = Simulation(*arguments)
        clock = SimpleNamespace(monotonic=lambda: simulation.now)
        monkeypatch.setattr(sender_module, "time", clock)
        simulation.run()
        return simulation

    random.seed(0)
    return run


def test_500_clients_and_a_restart(simulate: Any) -> None:
    """Each of them has 3 requests with 30 seconds, and the server comes back after 8."""
    seen = simulate(500, 3, 30.0, 8.0)
    assert len(seen.outcomes) == 1500
    expected = {messages.ModelInferResponse, ServerBusyError, RequestTimeoutError}
    assert {kind for kind, _ in seen.outcomes} == expected
    assert max(time for _, time in seen.outcomes) < 30 + 1
    # Each client asks with one of its requests, after pauses that grow to two seconds.
    assert max(seen.away[second] for second in range(3, 8)) < 500
    # The server is never idle again, and most of what it refuses comes within the first seconds.
    answered = [seen.answered[second] for second in range(9, 30)]
    assert min(answered) >= 0.8 / SERVICE
    assert max(seen.refused[second] for second in range(14, 23)) < 400
    assert seen.shortest >= LEAST_ATTEMPT - 1e-9


def test_a_server_that_stays_away(simulate: Any) -> None:
    seen = simulate(10, 8, 30.0, 1e9)
    assert {kind for kind, _ in seen.outcomes} == {ServerUnavailableError}
    assert len(seen.outcomes) == 80 and max(time for _, time in seen.outcomes) < 30 + 1


@pytest.mark.parametrize(("clients", "requests"), [(1, 200), (60, 2)])
def test_more_than_the_queue_takes(clients: int, requests: int, simulate: Any) -> None:
    """All requests are answered, and the server is hardly ever without one."""
    seen = simulate(clients, requests, 60.0, 0.0)
    assert {kind for kind, _ in seen.outcomes} == {messages.ModelInferResponse}
    assert max(time for _, time in seen.outcomes) < 1.25 * clients * requests * SERVICE
    assert sum(seen.refused.values()) < 4 * clients * requests


def test_what_is_begun_does_not_wait_for_what_is_new() -> None:
    """A queue without room for new requests says nothing of that of those which go on."""
    sender = Sender("simulated:8001")
    new, begun = (messages.ModelInferRequest(model_name="m") for _ in range(2))
    begun.parameters["priority"].uint64_param = CONTINUED_PRIORITY
    far = time.monotonic() + 60
    calls = [sender.call(Rpc("ModelInfer", one, True), far) for one in (new, new, begun)]
    assert isinstance(advance(calls[0], None), Attempt)
    assert isinstance(advance(calls[0], BUSY), Pause)
    assert isinstance(advance(calls[1], None), Pause)  # for its turn
    assert isinstance(advance(calls[2], None), Attempt)
    for call in calls:
        call.close()
