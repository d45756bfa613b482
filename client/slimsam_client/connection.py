"""One server, reached from threads: deadlines, retries, and errors in the client's words."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, Final, TypeVar

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slimsam_client.calls import Call, Done
from slimsam_client.channel import channel
from slimsam_client.contract import MODELS, ModelSpec
from slimsam_client.errors import (
    AccessDeniedError,
    SlimSamError,
    client_closed,
    from_triton,
    model_not_ready,
    not_up,
)
from slimsam_client.exchange import Exchange, Pause, proceed
from slimsam_client.inference import Lent, infer
from slimsam_client.options import RequestOptions
from slimsam_client.retries import is_passing, pauses
from slimsam_client.shared_memory.pool import RegionPool
from slimsam_client.tls import Tls
from slimsam_client.wire import Arrays, check_metadata

T = TypeVar("T")

SECONDS_FOR_A_LOOK: Final = 5.0
"""How long a server may take to say that it is ready."""
SHORTEST_LOOK: Final = 1.0
SECONDS_BETWEEN_LOOKS: Final = 0.25


class Connection:
    """A channel to one server; safe to share between threads.

    Args:
        url: as for `channel`.
        ssl: as for `channel`.
        regions: shared memory for large tensors; None sends them.
    """

    def __init__(self, url: str, ssl: bool | Tls, regions: RegionPool | None = None) -> None:
        self.url = url
        self._regions = regions
        self._triton = InferenceServerClient(**channel(url, ssl))
        self._closed = False
        # A server that never answered is probably not there; one that did is waited for.
        self._answered = False
        self._checked: set[str] = set()

    def close(self, options: RequestOptions) -> None:
        """Close the channel; requests in flight fail."""
        try:
            if self._regions is not None and not self._closed:
                until = time.monotonic() + SECONDS_FOR_A_LOOK
                self._make(self._regions.close(), options, until)
        finally:
            self._closed = True
            self._triton.close()

    def infer(self, spec: ModelSpec, arrays: Arrays, options: RequestOptions) -> Lent:
        """Have a model answer, within the options' timeout.

        Returns:
            The answer in a context, with which it ends.
        """
        until = time.monotonic() + options.timeout
        if spec.name not in self._checked:
            metadata = self._call(
                "get_model_metadata", options, until, model_name=spec.name, as_json=True
            )
            check_metadata(spec, metadata, self.url)
            self._checked.add(spec.name)
        exchange = infer(Call(spec, arrays), self.url, options.new_id(), self._regions)
        return self._make(exchange, options, until)

    def serves(self, spec: ModelSpec, options: RequestOptions) -> bool:
        """Whether the server serves a model."""
        until = time.monotonic() + options.timeout
        return bool(self._call("is_model_ready", options, until, model_name=spec.name))

    def missing(
        self, options: RequestOptions, seconds: float = SECONDS_FOR_A_LOOK
    ) -> SlimSamError | None:
        """Say what keeps the server from serving all models; it is asked once."""
        until = time.monotonic() + seconds
        lives = False
        try:
            lives = bool(self._send("is_server_live", options, until))
            for spec in MODELS:
                if not self._send("is_model_ready", options, until, model_name=spec.name):
                    return model_not_ready(self.url, spec.name)
        except InferenceServerException as error:
            return not_up(error, self.url, lives)
        return None

    def wait_until_ready(self, options: RequestOptions, seconds: float) -> None:
        """Wait for a server that serves all models.

        Raises:
            SlimSamError: what was missing at the end, or what waiting does not change.
        """
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            look = min(max(left, SHORTEST_LOOK), SECONDS_FOR_A_LOOK)
            missing = self.missing(options, look)
            if missing is None:
                return
            if left <= 0 or isinstance(missing, AccessDeniedError):
                raise missing
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _make(self, exchange: Exchange[T], options: RequestOptions, until: float) -> T:
        """Make the calls of an exchange, and give its result."""
        with closing(exchange):  # so that one that is interrupted ends at once
            step = proceed(exchange, None)
            while not isinstance(step, Done):
                outcome: object = None
                try:
                    if isinstance(step, Pause):
                        time.sleep(step.seconds)
                    else:
                        outcome = self._call(
                            step.method, options, until, step.again, **step.arguments
                        )
                except SlimSamError as error:
                    outcome = error
                step = proceed(exchange, outcome)
            return step.result

    def _call(
        self,
        method: str,
        options: RequestOptions,
        until: float,
        again: bool = True,
        **arguments: Any,
    ) -> Any:
        """Send a request, and `again` while the server is away and there is time left."""
        waits = pauses()
        while True:
            try:
                return self._send(method, options, until, **arguments)
            except InferenceServerException as error:
                pause = next(waits)
                in_time = time.monotonic() + pause < until
                if not (again and self._answered and is_passing(error) and in_time):
                    lives = is_passing(error) and self._lives(options)
                    raise from_triton(
                        error, self.url, lives, arguments.get("request_id", "")
                    ) from error
            time.sleep(pause)

    def _send(self, method: str, options: RequestOptions, until: float, **arguments: Any) -> Any:
        headers = options.metadata()
        try:
            answer = getattr(self._triton, method)(
                **arguments, headers=headers, client_timeout=until - time.monotonic()
            )
        except ValueError as error:  # gRPC's, for a closed channel
            if self._closed:
                raise client_closed(self.url) from error
            raise
        self._answered = True
        return answer

    def _lives(self, options: RequestOptions) -> bool:
        until = time.monotonic() + SHORTEST_LOOK
        try:
            return bool(self._send("is_server_live", options, until))
        except InferenceServerException:
            return False
