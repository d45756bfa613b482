"""`Connection`: the connection to one server, which threads share."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import TypeVar

import grpc

from slimsam_client.calls import Done, advance
from slimsam_client.errors import SlimSamError
from slimsam_client.transport.channel import channel_settings
from slimsam_client.transport.exchange import Attempt, Attempts, Pause
from slimsam_client.transport.interruption import Interruption
from slimsam_client.transport.links import Links
from slimsam_client.transport.options import RequestOptions
from slimsam_client.transport.routes import Routes
from slimsam_client.transport.session import Session
from slimsam_client.transport.shared_memory.pool import RegionPool
from slimsam_client.transport.status import Status, client_closed
from slimsam_client.transport.threads import LOOK, apart
from slimsam_client.transport.tls import Tls

T = TypeVar("T")


class Connection:
    """A channel to one server; safe to share between threads. A forked process makes its own.

    Args:
        url: as for `channel_settings`.
        tls: as for `channel_settings`.
        regions: shared memory for large tensors; None sends them in messages.

    Attributes:
        session: the session whose operations `run` takes.
    """

    def __init__(self, url: str, tls: bool | Tls, regions: RegionPool | None = None) -> None:
        self.session = Session(url, regions)
        self._closed = False
        settings = channel_settings(url, tls, one_server=regions is not None)
        self._routes: Routes[Links[grpc.Channel]] = Routes(
            settings, lambda each: Links(each.make, each.url)
        )

    def close(self, options: RequestOptions) -> None:
        """Close the channel; requests in flight fail, those too that wait to be sent again."""
        try:
            if not self._routes.any.closed:
                self.run(self.session.close(), options)
        finally:
            self._closed = True
            with ExitStack() as closes:  # each of them, whatever another raises
                for links in self._routes.all():
                    for channel in links.close():
                        closes.callback(channel.close)

    def run(
        self,
        attempts: Attempts[T],
        options: RequestOptions,
        interruption: Interruption | None = None,
    ) -> T:
        """Make the requests of an operation of the session, and give its result.

        Args:
            attempts: the operation.
            options: timeout, headers and id of the requests.
            interruption: what ends the requests early.
        """
        interruption = interruption or Interruption()
        with closing(attempts):  # an interrupted operation ends at once
            step = advance(attempts, None)
            while not isinstance(step, Done):
                outcome: object = None
                try:
                    if isinstance(step, Pause):
                        self._pause(step.seconds, interruption)
                    else:
                        outcome = self._send(step, options, interruption)
                except (SlimSamError, Status) as error:
                    outcome = error
                step = advance(attempts, outcome)
            return step.result

    def _pause(self, seconds: float, interruption: Interruption) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not interruption.happened:
            if self._closed:
                raise client_closed(self.session.url)
            interruption.wait(min(left, LOOK))

    def _send(self, attempt: Attempt, options: RequestOptions, interruption: Interruption) -> bytes:
        metadata = attempt.metadata(options)
        *others, last = self._routes.of(attempt)

        def ask(links: Links[grpc.Channel]) -> bytes:
            with self._routes.watching(links):
                return apart(
                    lambda: self._ask(links, attempt, metadata, interruption), interruption.cancel
                )

        for links in others:
            try:
                return ask(links)
            except Status as status:
                if not status.not_reached or attempt.seconds_left() <= 0:
                    raise
        return ask(last)

    def _ask(
        self,
        links: Links[grpc.Channel],
        attempt: Attempt,
        metadata: tuple[tuple[str, str], ...],
        interruption: Interruption,
    ) -> bytes:
        try:
            with links.request() as channel:
                send = channel.unary_unary(attempt.path).future
                call = send(attempt.body, timeout=attempt.seconds_left(), metadata=metadata)
                with interruption.ending(call):
                    answer: bytes = call.result()
                    return answer
        except grpc.FutureCancelledError as error:
            raise Status("CANCELLED", str(call.details() or "")) from error
        finally:
            for ended in links.ended():
                ended.close()
