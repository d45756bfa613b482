"""The digest of the served checkpoint, so that no embedding is decoded by another's decoder.

Servers whose models have the checkpoint's version refuse such requests themselves. What is asked
and required here is for the others, whose repositories are of before there were such versions.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import Final

from tritonclient.grpc import service_pb2 as messages

from slimsam_client.calls import Call
from slimsam_client.contract import ANY_VERSION, INFO, model_version
from slimsam_client.errors import ModelNotReadyError, StaleEmbeddingError
from slimsam_client.parity.model_info import ModelInfo
from slimsam_client.quoting import quoted
from slimsam_client.transport.exchange import Attempts, Rpc
from slimsam_client.transport.inference import infer
from slimsam_client.transport.retries import Breakages
from slimsam_client.transport.sender import Sender

DIGEST_SECONDS: Final = 2.0
"""A server's digest is asked again after so many seconds, which no restart is faster than. For
connections come back by themselves, behind load balancers to another server, and Triton can reload
a model."""
ASKS: Final = 16
"""So often servers are asked by turns before a checkpoint is taken to be none of theirs."""


class ServedDigest:
    """The digest of the checkpoint that a server serves, asked when it is needed.

    Args:
        sender: what sends requests to the server.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._digest: str | None = None
        self._expiry = 0.0
        self._outages = 0

    def ask(self, deadline: float) -> Attempts[str | None]:
        """Give the digest, or None where the server does not say.

        Args:
            deadline: the deadline of the requests, in seconds of time.monotonic.
        """
        # After an outage, the next server to answer may serve another checkpoint.
        if time.monotonic() >= self._expiry or self._outages != self._sender.outages:
            # A client that never had an answer to a request of its own does not wait for a model.
            sender = self._sender.aside()
            there = yield from _is_there(sender, deadline)
            self._digest = (yield from _request(sender, deadline)) if there else None
            self._expiry = time.monotonic() + DIGEST_SECONDS
            self._outages = self._sender.outages
        return self._digest

    def of_answer(self, version: str, before: str | None, deadline: float) -> Attempts[str | None]:
        """Give the digest of the checkpoint that an answer is of.

        An address may lead to servers of two checkpoints by turns, so it is asked until the right
        one answers.

        Args:
            version: of the model that gave the answer.
            before: what `ask` gave before the request, which is believed of an answer whose
                version says nothing.
            deadline: as for `ask`.

        Raises:
            StaleEmbeddingError: none of the servers that were asked is of this checkpoint.
        """
        digest = before
        for _ in range(ASKS):
            if version == ANY_VERSION or digest is None or model_version(digest) == version:
                return digest
            digest = yield from _request(self._sender, deadline)
        raise StaleEmbeddingError(
            f"{self._sender.url}: expected a server of the checkpoint that has encoded the image, "
            f"version {quoted(version)}, got {ASKS} answers of others; embed the image again"
        )

    def require(self, digest: str, deadline: float) -> Attempts[None]:
        """Raise a StaleEmbeddingError if another checkpoint than that of the digest is served."""
        served = yield from self.ask(deadline)
        if served is not None and served != digest:
            raise StaleEmbeddingError(
                f"{self._sender.url}: expected an embedding of the checkpoint that is served, "
                f"digest {quoted(served[:12])}, got one of another, digest {quoted(digest[:12])}; "
                "embed the image again"
            )


def _is_there(sender: Sender, deadline: float) -> Attempts[bool]:
    ready = messages.ModelReadyRequest(name=INFO.name)
    answer = yield from sender.call(Rpc("ModelReady", ready, retry=True), deadline)
    return bool(answer.ready)


def _request(sender: Sender, deadline: float) -> Attempts[str | None]:
    question = replace(INFO, outputs=INFO.outputs[:1])  # without the reference answer
    call = Call(question, {})
    exchange = infer(call, sender.url, uuid.uuid4().hex, None, Breakages())
    try:
        with (yield from sender.make(exchange, deadline)) as answer:
            return ModelInfo.from_json(answer["info"][0]).digest
    except ModelNotReadyError:  # artifacts of early versions have no slimsam_info
        return None
