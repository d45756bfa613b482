"""`Sender`: requests, repeated while the server is away or busy, as generators of attempts."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as messages

from slimsam_client.calls import Done, advance
from slimsam_client.contract import CLICK
from slimsam_client.errors import ContractError, SlimSamError
from slimsam_client.transport.congestion import CongestionWindow
from slimsam_client.transport.exchange import Attempt, Attempts, Exchange, Pause, Rpc
from slimsam_client.transport.retries import MAX_BUSY_BACKOFF, Breakages, backoffs, should_retry
from slimsam_client.transport.status import Status, from_status

T = TypeVar("T")

SHORT_ATTEMPT: Final = 1.0
"""If the last attempt had fewer seconds and got no answer, the one before it says why."""
LEAST_ATTEMPT: Final = 0.05
"""A request is not sent again with fewer seconds left: it would cost the server more than it may
bring, and tritonserver 24.10 can end when a deadline passes as its request arrives
(https://github.com/triton-inference-server/server/pull/7840)."""
LIVE_TIMEOUT: Final = 0.5
"""The question whether the server lives may take so many seconds beyond a request's timeout."""

TURN_INTERVAL: Final = 0.1
"""Requests that wait for their turn look for it after at most so many seconds."""

Check = Callable[[], Attempts[None]]
"""A check gives what is to be asked before every attempt."""


class Sender:
    """Requests of one server.

    Args:
        url: address of the server, for messages.

    Attributes:
        url: the same.
        answered: whether the server has ever answered.
        outages: how often it was away or busy.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.answered = False
        self.outages = 0
        # Each queue has its own, so that clicks do not wait behind everything mode, nor what is
        # begun behind what is new and refused.
        self._windows: defaultdict[tuple[str, int], CongestionWindow] = defaultdict(
            CongestionWindow
        )

    def aside(self) -> Sender:
        """Give a sender for questions beside the user's requests, in the same congestion windows.

        What answers them does not count as an answer to this one.
        """
        other = Sender(self.url)
        other.answered = self.answered
        other._windows = self._windows
        return other

    def make(
        self, exchange: Exchange[T], deadline: float, check: Check | None = None
    ) -> Attempts[T]:
        """Make the calls of an exchange, and give its result.

        Args:
            exchange: the calls.
            deadline: the deadline of the requests, in seconds of time.monotonic.
            check: what is asked before each attempt, retries included.
        """
        with closing(exchange):  # an interrupted exchange ends at once
            step = advance(exchange, None)
            while not isinstance(step, Done):
                outcome: object = None
                try:
                    if isinstance(step, Pause):
                        yield step
                    else:
                        outcome = yield from self.call(step, deadline, check)
                except SlimSamError as error:
                    outcome = error
                step = advance(exchange, outcome)
            return step.result

    def call(self, rpc: Rpc, deadline: float, check: Check | None = None) -> Attempts[Any]:
        """Send a request, and again while the server is away or busy and there is time left."""
        away, busy = backoffs(), backoffs(MAX_BUSY_BACKOFF)
        breakages = rpc.breakages or Breakages()
        before: Status | None = None
        window = self._windows[_queue_of(rpc)]
        inside = answered = False
        passed = 0
        try:
            while True:
                if not inside:
                    yield from self._enter(window, rpc, deadline)
                    inside = True
                if check is not None:
                    yield from check()
                left = deadline - time.monotonic()
                try:
                    answer = yield from self.send(rpc, deadline, passed)
                    answered = True
                    return answer
                except Status as outcome:
                    status = outcome
                if before and status.code == "DEADLINE_EXCEEDED" and left < SHORT_ATTEMPT:
                    raise from_status(before, self.url, True, _id_of(rpc)) from status
                before = status if status.is_transient else None
                self.outages += status.is_transient
                passed += _passes_over(status, rpc)
                if status.is_transient:
                    inside = window.shrink(status)
                pause = next(busy if status.busy else away)
                breakages.note(status, time.monotonic())
                in_time = time.monotonic() + pause + LEAST_ATTEMPT < deadline
                retry = rpc.retry and should_retry(status, breakages.count, self.answered)
                if not (retry and in_time):
                    lives = status.is_transient and (yield from self._lives(status))
                    raise from_status(status, self.url, lives, _id_of(rpc)) from status
                yield Pause(pause)
        finally:
            if inside:
                window.leave(answered)

    def _enter(self, window: CongestionWindow, rpc: Rpc, deadline: float) -> Attempts[None]:
        """Wait for the request's turn at its model."""
        while not window.enter():
            pause = TURN_INTERVAL * random.uniform(0.5, 1.0)
            if time.monotonic() + pause + LEAST_ATTEMPT >= deadline:
                status = window.reason
                assert status is not None
                lives = yield from self._lives(status)
                raise from_status(status, self.url, lives, _id_of(rpc)) from status
            yield Pause(pause)

    def send(self, rpc: Rpc, deadline: float, passed: int = 0) -> Attempts[Any]:
        """Send a request once, or raise the Status that it ended in, if it got no answer.

        Args:
            rpc: the request.
            deadline: its deadline, in seconds of time.monotonic.
            passed: how many servers of a list are passed over, because they were away or busy.
        """
        body = rpc.request.SerializeToString()
        turn = rpc.turn + passed
        body = yield Attempt(rpc.method, body, deadline, rpc.image_key, turn)
        self.answered = True
        try:
            return getattr(messages, f"{rpc.method}Response").FromString(body)
        except DecodeError as error:
            raise ContractError(
                f"{self.url}: expected Triton's answer to {rpc.method}, got {len(body)} bytes that "
                f"are none; is this a Triton server? ({error})"
            ) from error

    def _lives(self, status: Status) -> Attempts[bool]:
        """Ask whether a server gave the status UNAVAILABLE, or a proxy that reaches none."""
        if status.not_reached or status.broke:
            return False
        deadline = time.monotonic() + LIVE_TIMEOUT
        try:
            request = messages.ServerLiveRequest()
            return bool((yield from self.send(Rpc("ServerLive", request), deadline)).live)
        except (Status, ContractError):
            return False


def _id_of(rpc: Rpc) -> str:
    return str(rpc.request.id) if rpc.method == "ModelInfer" else ""


def _passes_over(status: Status, rpc: Rpc) -> bool:
    """Whether the next attempt asks the next server of a list."""
    if not status.is_transient or status.not_reached:  # each of them has just been tried
        return False
    # The picture of a click is waited for: another server would have to encode it first.
    return not status.busy or _queue_of(rpc)[0] != CLICK.name


def _queue_of(rpc: Rpc) -> tuple[str, int]:
    """Which queue a request waits in: that of a model, and of the priority that it asks for."""
    if rpc.method != "ModelInfer":
        return "", 0
    parameters = rpc.request.parameters
    priority = parameters["priority"].uint64_param if "priority" in parameters else 0
    return str(rpc.request.model_name), int(priority)
