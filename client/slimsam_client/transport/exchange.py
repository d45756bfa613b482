"""The transport's operations as generators of requests, which do no I/O themselves.

There are two kinds. An `Exchange` yields the calls that are to be made, such as an inference after
the registration of shared memory, and is thrown the client's errors. `Attempts` are the single
requests that this takes, retries among them, and are thrown gRPC's statuses: both connections drive
these, with and without `await`.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from slimsam_client.contract import IMAGE_KEY_HEADER
from slimsam_client.transport.options import RequestOptions
from slimsam_client.transport.retries import Breakages

T = TypeVar("T")

MAX_TIMEOUT: Final = 1e6
"""gRPC cannot represent timeouts of more seconds."""


@dataclass(frozen=True, eq=False)
class Rpc:
    """One call of Triton's gRPC service; `Sender` adds retries and the remaining timeout.

    Attributes:
        method: its name in the service.
        request: its message.
        retry: whether to repeat it while the server is away.
        breakages: what has broken already with this call under way; None: nothing.
        image_key: as a `Call` has it.
        turn: as a `Call` has it.
    """

    method: str
    request: Any
    retry: bool = False
    breakages: Breakages | None = None
    image_key: str | None = None
    turn: int = 0


@dataclass(frozen=True)
class Pause:
    """A pause of some seconds before the next call."""

    seconds: float


@dataclass(frozen=True, eq=False)
class Attempt:
    """A request that is sent once.

    Attributes:
        method: its name in Triton's service.
        body: the serialized message; the answer is one, too.
        deadline: its deadline, in seconds of time.monotonic.
        image_key: as a `Call` has it.
        turn: as a `Call` has it.
    """

    method: str
    body: bytes
    deadline: float
    image_key: str | None = None
    turn: int = 0

    def metadata(self, options: RequestOptions) -> tuple[tuple[str, str], ...]:
        """Give the gRPC metadata that it is sent with; the user's own go first."""
        own = {} if self.image_key is None else {IMAGE_KEY_HEADER: self.image_key}
        return tuple({**own, **options.metadata()}.items())

    @property
    def path(self) -> str:
        """The method's name on the wire."""
        return f"/inference.GRPCInferenceService/{self.method}"

    def seconds_left(self) -> float:
        """Give the timeout that is left, which may be negative."""
        return min(self.deadline - time.monotonic(), MAX_TIMEOUT)


Exchange = Generator[Rpc | Pause, Any, T]
"""An exchange yields calls, and is sent what they return or thrown the SlimSamError they raise."""
Attempts = Generator[Attempt | Pause, Any, T]
"""Attempts yield requests, and are sent the answers' bytes or thrown the Status or SlimSamError."""
