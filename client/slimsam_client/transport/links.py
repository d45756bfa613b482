"""The channel that a client uses, and when it is given up for a new one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import grpc
import grpc.aio

from slimsam_client.transport.forks import begins_anew_after_fork
from slimsam_client.transport.status import Status, client_closed

C = TypeVar("C")

SILENT_REQUESTS: Final = 2
"""A channel on which so many requests in a row timed out, without an answer, is given up: a load
balancer or firewall may have forgotten its connection and drop all that is sent."""
SILENT_SECONDS: Final = 0.5
"""The channel must also have been silent for so long, for there are timeouts shorter than any
answer."""

_of_parents: list[Any] = []
"""Channels of a parent process are kept here: to destroy one would touch what the parent's threads
held."""


@dataclass(eq=False)
class Link(Generic[C]):
    """A channel and what is known of it.

    Attributes:
        channel: the gRPC channel.
        heard: when a request last ended other than by its timeout, in seconds of time.monotonic.
        silent: how many requests have timed out since.
        in_flight: how many requests are under way.
        given_up: whether it takes no more of them.
    """

    channel: C
    heard: float
    silent: int = 0
    in_flight: int = 0
    given_up: bool = False


class Links(Generic[C]):
    """Gives each request a channel: one for all, until it has to be replaced.

    A channel that is given up is closed when its last request has ended; others with longer
    timeouts may be under way on it, and are not harmed if it works after all.

    Args:
        make: makes a channel.
        url: address of the server, for messages.

    Attributes:
        closed: whether `close` was called.
    """

    def __init__(self, make: Callable[[], C], url: str) -> None:
        self._make = make
        self._url = url
        self.closed = False
        self._lock = threading.Lock()
        self._current: Link[C] | None = None
        self._given_up: set[Link[C]] = set()
        self._ended: list[C] = []
        begins_anew_after_fork(self)

    @contextmanager
    def request(self) -> Iterator[C]:
        """Lend the channel for a request.

        Raises:
            Status: the request failed; it takes the place of gRPC's error.
            RequestCancelledError: `close` was called before the request or during it.
        """
        link = self._take()
        status = None
        heard = True
        try:
            yield link.channel
        except grpc.RpcError as error:
            status = Status.of(error, self._url)
            raise status from error
        except asyncio.TimeoutError as error:  # gRPC's threads have ended, as after a fork
            status = Status("DEADLINE_EXCEEDED", "gRPC did not end it", self._url)
            raise status from error
        except BaseException as error:
            heard = False
            if self.closed and _comes_of_closing(error):
                raise client_closed(self._url) from error
            raise
        finally:
            self._give_back(link, status, heard)

    def ended(self) -> list[C]:
        """Take the channels that are to be closed now."""
        with self._lock:
            ended, self._ended = self._ended, []
            return ended

    def close(self) -> list[C]:
        """Take all channels, to be closed."""
        with self._lock:
            self.closed = True
            links = [*self._given_up, *([] if self._current is None else [self._current])]
            self._given_up.clear()
            self._current = None
            return [link.channel for link in links]

    def forget_parent(self) -> None:
        """Begin anew in a forked process."""
        _of_parents.extend([self._current, *self._given_up, *self._ended])
        self._lock = threading.Lock()
        self._current = None
        self._given_up = set()
        self._ended = []

    def _take(self) -> Link[C]:
        with self._lock:
            if self.closed:
                raise client_closed(self._url)
            if self._current is None:
                self._current = Link(self._make(), time.monotonic())
            self._current.in_flight += 1
            return self._current

    def _give_back(self, link: Link[C], status: Status | None, heard: bool) -> None:
        """End a request.

        Args:
            link: what `_take` gave.
            status: the status that the request ended in; None for an answer.
            heard: False if nobody waited for its end, so that it says nothing of the server.
        """
        with self._lock:
            link.in_flight -= 1
            if heard and (status is None or status.code != "DEADLINE_EXCEEDED"):
                # gRPC itself replaces a connection when it is told of its end.
                link.silent, link.heard = 0, time.monotonic()
            elif heard:
                link.silent += 1
                long_ago = time.monotonic() - link.heard >= SILENT_SECONDS
                if link.silent >= SILENT_REQUESTS and long_ago and link is self._current:
                    self._current = None
                    link.given_up = True
                    self._given_up.add(link)
            if link.given_up and link.in_flight == 0 and link in self._given_up:
                self._given_up.remove(link)
                self._ended.append(link.channel)


def _comes_of_closing(error: BaseException) -> bool:
    """Whether gRPC raises such an error for a request whose channel is closed."""
    if isinstance(error, asyncio.CancelledError):  # it is gRPC's if no task was cancelled
        return not _is_cancelled()
    return isinstance(error, grpc.FutureCancelledError | grpc.aio.UsageError | ValueError)


def _is_cancelled() -> bool:
    """Whether somebody cancelled the current task; Python 3.10 cannot tell."""
    task = asyncio.current_task()
    return task is not None and hasattr(task, "cancelling") and task.cancelling() > 0
