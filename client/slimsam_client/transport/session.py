"""`Session`: a client's operations on one server, as generators of attempts for a connection."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from tritonclient.grpc import service_pb2 as messages

from slimsam_client.calls import AskDigest, Call, Done, Operation, advance
from slimsam_client.contract import ANY_VERSION, MODELS, ModelSpec, model_version
from slimsam_client.errors import (
    AccessDeniedError,
    ContractError,
    SlimSamError,
    StaleEmbeddingError,
)
from slimsam_client.transport.exchange import Attempts, Pause, Rpc
from slimsam_client.transport.inference import Lent, infer
from slimsam_client.transport.options import RequestOptions
from slimsam_client.transport.retries import MAX_BROKEN, Breakages
from slimsam_client.transport.sender import Sender
from slimsam_client.transport.served_digest import ASKS, ServedDigest
from slimsam_client.transport.shared_memory.pool import RegionPool
from slimsam_client.transport.status import Status, model_not_ready, not_up
from slimsam_client.transport.tensors import Answer, check_metadata

T = TypeVar("T")

READY_TIMEOUT: Final = 5.0
"""A server may take so many seconds to say that it is ready."""
SHORTEST_READY_TIMEOUT: Final = 1.0
POLL_INTERVAL: Final = 0.25
TURNS: Final = 3
"""After so many refusals of a checkpoint its servers are looked for by questions of few bytes."""


@dataclass
class Said:
    """What servers have said of their checkpoints while an operation runs.

    Attributes:
        digest: the last one that was asked for.
        version: that of the last answer's model.
    """

    digest: str | None = None
    version: str = ANY_VERSION


class Session:
    """The operations of a connection.

    Args:
        url: address of the server, for messages.
        regions: shared memory for large tensors; None sends them in messages.
    """

    def __init__(self, url: str, regions: RegionPool | None) -> None:
        self.url = url
        self.regions = regions
        self._sender = Sender(url)
        self._digest = ServedDigest(self._sender)
        # The models whose metadata were checked, and whether their version is the checkpoint's.
        self._checked: dict[str, bool] = {}

    def run(self, operation: Operation[T], options: RequestOptions) -> Attempts[T]:
        """Answer the calls of an operation, each within the options' timeout; give its result."""
        deadline = 0.0
        said = Said()
        with closing(operation):
            step = advance(operation, None)
            while not isinstance(step, Done):
                if not step.continues:
                    deadline = time.monotonic() + options.timeout
                with (yield from self._outcome(step, options, deadline, said)) as outcome:
                    if isinstance(outcome, Answer):
                        said.version = outcome.version
                    step = advance(operation, outcome)
            return step.result

    def _outcome(
        self, step: Call | AskDigest, options: RequestOptions, deadline: float, said: Said
    ) -> Attempts[AbstractContextManager[object]]:
        """Give what a step comes to, an error included, in a context with which it ends."""
        try:
            if isinstance(step, Call):
                return (yield from self.infer(step, options, deadline))
            if step.answered:
                digest = yield from self._digest.of_answer(said.version, said.digest, deadline)
            else:
                digest = said.digest = yield from self._digest.ask(deadline)
            return nullcontext(digest)
        except SlimSamError as error:
            return nullcontext(error)

    def infer(self, call: Call, options: RequestOptions, deadline: float) -> Attempts[Lent]:
        """Have a model answer until a deadline, in seconds of time.monotonic.

        Returns:
            The answer in a context, with which it ends.
        """
        spec = call.spec
        if spec.name not in self._checked:
            request = messages.ModelMetadataRequest(name=spec.name)
            metadata = yield from self._sender.call(Rpc("ModelMetadata", request, True), deadline)
            check_metadata(spec, metadata, self.url)
            self._checked[spec.name] = list(metadata.versions) != [ANY_VERSION]
        breakages = Breakages(MAX_BROKEN if options.are_probes else 0)
        check = None
        if call.digest is not None and not self._checked[spec.name]:
            check = partial(self._digest.require, call.digest, deadline)
            call = replace(call, digest=None)  # it would ask for a version
        asks = 0
        while True:
            exchange = infer(call, self.url, options.new_id(), self.regions, breakages)
            try:
                return (yield from self._sender.make(exchange, deadline, check))
            except StaleEmbeddingError:
                asks += 1
                ends = check is not None or asks == ASKS
                # An address may lead to servers of two checkpoints by turns.
                if ends or (asks == TURNS and not (yield from self._is_served(call, deadline))):
                    self._checked.pop(spec.name, None)  # whether there are versions, too
                    raise

    def _is_served(self, call: Call, deadline: float) -> Attempts[bool]:
        """Ask whether any server has the checkpoint that a call wants."""
        request = messages.ModelReadyRequest(name=call.spec.name)
        request.version = model_version(call.digest or "")
        for _ in range(ASKS):
            answer = yield from self._sender.call(Rpc("ModelReady", request, retry=True), deadline)
            if answer.ready:
                return True
        return False

    def serves(self, options: RequestOptions, *specs: ModelSpec) -> Attempts[bool]:
        """Ask whether the server serves each of some models."""
        deadline = time.monotonic() + options.timeout
        for spec in specs:
            request = messages.ModelReadyRequest(name=spec.name)
            answer = yield from self._sender.call(Rpc("ModelReady", request, retry=True), deadline)
            if not answer.ready:
                return False
        return True

    def missing(self, seconds: float) -> Attempts[SlimSamError | None]:
        """Ask once what keeps the server from serving all models, within READY_TIMEOUT at most."""
        deadline = time.monotonic() + min(seconds, READY_TIMEOUT)
        lives = False
        try:
            request = messages.ServerLiveRequest()
            lives = bool((yield from self._sender.send(Rpc("ServerLive", request), deadline)).live)
            for spec in MODELS:
                ready = messages.ModelReadyRequest(name=spec.name)
                if not (yield from self._sender.send(Rpc("ModelReady", ready), deadline)).ready:
                    return model_not_ready(self.url, spec.name)
        except Status as status:
            return not_up(status, self.url, lives)
        except ContractError as error:  # the answer came from something that is not Triton
            return error
        return None

    def wait_until_ready(self, seconds: float) -> Attempts[None]:
        """Wait for a server that serves all models.

        Raises:
            SlimSamError: a model was missing at the end, or waiting does not help.
        """
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            missing = yield from self.missing(max(left, SHORTEST_READY_TIMEOUT))
            if missing is None:
                return
            if isinstance(missing, AccessDeniedError | ContractError):
                raise missing
            if time.monotonic() >= deadline:
                raise missing
            yield Pause(POLL_INTERVAL)

    def close(self) -> Attempts[None]:
        """Unregister shared memory."""
        if self.regions is not None:
            yield from self._sender.make(self.regions.close(), time.monotonic() + READY_TIMEOUT)
