"""Keeps a server serving: watches it, and starts it anew when it has failed."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, Protocol, TextIO

from slimsam_client import SlimSam
from slimsam_server.command_line import GRACE_SECONDS
from slimsam_server.errors import ServerError
from slimsam_server.monitor import Monitor

SECONDS_BETWEEN_LOOKS: Final = 0.5
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
SERVED_WELL_SECONDS: Final = 600.0
"""A server that has served for so long begins again with the first pause."""


class Server(Protocol):
    """What can be supervised."""

    def start(self) -> None:
        """Start, at the same address each time; a ServerError if it cannot."""

    def models(self) -> list[str]:
        """Give the names of its models."""

    def failure(self) -> str | None:
        """Say what has died; None while all lives."""

    def stop(self, seconds: float | None = None) -> None:
        """Stop if it runs; requests in flight get so many seconds, or what the server gives."""


class Backoff:
    """The pauses before a server is started anew: they double up to a limit."""

    def __init__(self) -> None:
        self._next = FIRST_PAUSE

    def pause(self, served: float) -> float:
        """Give the seconds to wait.

        Args:
            served: for how many seconds the server has served before it failed.
        """
        if served >= SERVED_WELL_SECONDS:
            self._next = FIRST_PAUSE
        pause = self._next
        self._next = min(2 * pause, LONGEST_PAUSE)
        return pause


class Supervisor:
    """Runs a server until SIGTERM or SIGINT.

    Args:
        program: the name that its messages begin with.
        server: the server.
        connect: makes a client for the probes of a server that runs; None: it is not probed.
        ready: gives the line that is printed after each start.
        restarts: whether a server that has failed is started anew.
    """

    def __init__(
        self,
        program: str,
        server: Server,
        connect: Callable[[], SlimSam] | None,
        ready: Callable[[], str],
        restarts: bool,
    ) -> None:
        self._program = program
        self._server = server
        self._connect = connect
        self._ready = ready
        self._restarts = restarts
        self._stopping = False
        # What a signal's handler does may interrupt the wait for it at any line. An Event has a
        # lock, which the handler would wait for in vain; this queue's `put` is made for it.
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._starting = False
        self._serving_since: float | None = None

    def run(self) -> int:
        """Start the server, and keep it serving.

        Returns:
            0 after a signal; 1 if the first start failed, or the server did and is not to be
            started anew.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._interrupt)
        try:
            self._keep_serving()
        except ServerError as error:
            self._complain(f"error: {error}")
            return 1
        except _Interrupted:
            pass
        finally:
            self._server.stop()
        return 0

    def _interrupt(self, number: int, frame: object) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._signals.put(number)
        if self._starting:
            raise _Interrupted  # leave what starts, and clean up on the way

    def _wait(self, seconds: float) -> bool:
        """Wait for a signal, and say whether one has come, now or before."""
        if not self._stopping:
            with contextlib.suppress(Empty):
                self._signals.get(timeout=seconds)
        return self._stopping

    def _complain(self, message: str) -> None:
        _write(sys.stderr, f"{self._program}: {message}")

    def _keep_serving(self) -> None:
        backoff = Backoff()
        has_served = False
        while not self._stopping:
            self._serving_since = None
            try:
                self._serve()
            # Whatever it is: who has been served is helped by a server that is started again.
            except Exception as error:
                self._starting = False
                served = 0.0
                if self._serving_since is not None:
                    has_served = True
                    served = time.monotonic() - self._serving_since
                if not (self._restarts and has_served):
                    self._server.stop(GRACE_SECONDS)
                    raise
                pause = backoff.pause(served)
                self._complain(f"{_told(error)}; starting the server again in {pause:.0f} s")
                self._stop_what_failed()
                self._wait(pause)

    def _stop_what_failed(self) -> None:
        """Stop the server; where that fails, too, the next start begins with it."""
        try:
            self._server.stop(GRACE_SECONDS)
        except Exception as error:
            self._complain(f"expected to stop the server, got {_told(error)}")

    def _serve(self) -> None:
        """Start the server, and return after a signal; a ServerError if it cannot or has failed."""
        self._server.stop(GRACE_SECONDS)
        self._starting = True
        if self._stopping:  # since the loop has looked
            return
        self._server.start()
        if self._connect is None:
            self._watch(self._server.failure)
            return
        with Monitor(self._connect(), self._server.models()) as monitor:
            self._watch(lambda: self._server.failure() or monitor.failure())

    def _watch(self, failure: Callable[[], str | None]) -> None:
        self._starting = False
        self._serving_since = time.monotonic()
        _write(sys.stdout, self._ready())
        while not self._wait(SECONDS_BETWEEN_LOOKS):
            if found := failure():
                raise ServerError(found)


def _told(error: Exception) -> str:
    """Give the text of an error; of one that is not ours, its type as well."""
    return str(error) if isinstance(error, ServerError) else f"{type(error).__name__}: {error}"


def _write(stream: TextIO, line: str) -> None:
    """Print a line, for a reader that may have gone, or a full disk: that is no reason to end."""
    with contextlib.suppress(OSError):
        print(line, file=stream, flush=True)


class _Interrupted(BaseException):
    """A signal came while the server was starting."""
