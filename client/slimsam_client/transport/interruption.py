"""The interruption of calls that nobody waits for any more, as after Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from slimsam_client.errors import RequestCancelledError


class Interruption:
    """The calls that threads make for one list, to be cancelled together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[grpc.Future] = set()
        self._happened = threading.Event()

    @property
    def happened(self) -> bool:
        """Whether `cancel` was called."""
        return self._happened.is_set()

    @contextmanager
    def ending(self, call: grpc.Future) -> Iterator[None]:
        """Cancel a call with the others, as long as the context lasts, or with its own failure.

        Raises:
            RequestCancelledError: the call was cancelled with the others.
        """
        with self._lock:
            self._calls.add(call)
        try:
            if self.happened:
                call.cancel()
            yield
        except grpc.FutureCancelledError as error:
            if self.happened:
                raise RequestCancelledError("interrupted: nobody waits for the answer") from error
            raise
        except BaseException:
            call.cancel()  # after Ctrl-C nobody waits for it
            raise
        finally:
            with self._lock:
                self._calls.discard(call)

    def cancel(self) -> None:
        """Cancel all calls that are under way, and those that are yet to come."""
        self._happened.set()
        with self._lock:
            calls = tuple(self._calls)
        for call in calls:
            call.cancel()

    def wait(self, seconds: float) -> None:
        """Wait for so many seconds, or until `cancel` is called."""
        self._happened.wait(seconds)
