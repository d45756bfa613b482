"""Probes of a server's models from time to time, beside what its users ask of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from slimsam_client import SlimSam
from slimsam_client.contract import ENSEMBLE
from slimsam_client.probes import PROBES
from slimsam_server.errors import ServerError
from slimsam_server.probe import ask, is_broken, is_silence
from slimsam_server.verdict import Verdict

PROBE_SECONDS: Final = 10.0
"""How long a probe may take; one that takes longer says nothing about its model."""
SHORTEST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 60.0
PAUSE_FACTOR: Final = 20.0
"""How many times as long as the probes the pause after them is, so that they take little of the
server's time."""
SECOND_LOOK: Final = 1.0
"""The pause while a probe that failed is among a model's last."""


class Monitor:
    """A thread that probes the models of a server that runs.

    Args:
        sam: a client of the server with the timeout `PROBE_SECONDS`, which is closed at the end.
        models: names of the models that the server has.
    """

    def __init__(self, sam: SlimSam, models: Sequence[str]) -> None:
        self._sam = sam
        # The ensemble is encoder and decoder, and has no process of its own.
        self._models = [model for model in PROBES if model in models and model != ENSEMBLE.name]
        self._failure: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def __enter__(self) -> Monitor:
        """Probe each model once, then start the thread.

        Raises:
            ServerError: a model is broken, or there is no thread to be had.
        """
        try:
            for model in self._models:
                error = ask(self._sam, model, PROBE_SECONDS)
                if error is not None and is_broken(error):
                    raise ServerError(
                        f"expected an answer of {model}, got: {error}; build its artifacts again, "
                        "or leave its directory out if the server may do without it"
                    )
            try:
                self._thread.start()
            except RuntimeError as error:  # under a limit of processes
                raise ServerError(
                    f"expected to start a thread for probes, got {error}; see to the limit of "
                    "processes"
                ) from error
        except BaseException:
            self._sam.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread, and the probe that is under way."""
        self._ended.set()
        self._sam.close()
        self._thread.join()

    def failure(self) -> str | None:
        """Say which model is broken, and why, or that the server hangs; None while all is well."""
        return self._failure

    def _run(self) -> None:
        verdict = Verdict()
        pause = SHORTEST_PAUSE
        while not self._ended.wait(pause):
            began = time.monotonic()
            errors = {model: ask(self._sam, model, PROBE_SECONDS) for model in self._models}
            silent = all(map(is_silence, errors.values())) and not self._sam.ready()
            if self._ended.is_set():
                return  # they may have failed because of that
            failures = [verdict.note(model, error) for model, error in errors.items()]
            failures.append(verdict.note_silence(silent, time.monotonic()))
            self._failure = next(filter(None, failures), None)
            if self._failure:
                return
            pause = pause_after(time.monotonic() - began, verdict.doubts())


def pause_after(seconds: float, doubtful: bool) -> float:
    """Give the seconds until the next probes.

    Args:
        seconds: how long the last probes took.
        doubtful: whether a model has failed in one of its last.
    """
    if doubtful:
        return SECOND_LOOK
    return min(max(PAUSE_FACTOR * seconds, SHORTEST_PAUSE), LONGEST_PAUSE)
