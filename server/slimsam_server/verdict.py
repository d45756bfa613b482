"""When a model is broken, or a server hangs: decisions by their answers alone."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

from slimsam_client import SlimSamError
from slimsam_server.probe import is_broken

BROKEN_ANSWERS: Final = 3
"""A model is broken when so many of its last answers were those of a broken one."""
LAST_ANSWERS: Final = 5
"""How many answers are looked at: of a model's two instances, which Triton asks by turns, one may
go on answering."""
SILENT_SECONDS: Final = 120.0
"""A server that has said nothing for so long, not even that it is ready, hangs: to say so takes no
turn in a queue, so that one with much to do says it, too."""


class Verdict:
    """The answers of a server's models since it was started.

    What load brings about, a timeout or a full queue, is no answer: it neither harms nor helps.
    """

    def __init__(self) -> None:
        self._broken: defaultdict[str, deque[bool]] = defaultdict(
            lambda: deque(maxlen=LAST_ANSWERS)
        )
        self._silent_since: float | None = None

    def note(self, model: str, error: SlimSamError | None) -> str | None:
        """Take a model's answer.

        Args:
            model: its name.
            error: what came instead of an answer; None if it answered.

        Returns:
            Why the model is broken; None if it is not.
        """
        answers = self._broken[model]
        if error is None:
            answers.append(False)
            return None
        if not is_broken(error):
            return None
        answers.append(True)
        if sum(answers) < BROKEN_ANSWERS:
            return None
        return f"{model} failed in {sum(answers)} of its last {len(answers)} probes: {error}"

    def note_silence(self, silent: bool, now: float) -> str | None:
        """Take whether the server says anything at all.

        Args:
            silent: whether neither a model has answered, nor the server that it is ready.
            now: the time, in seconds of time.monotonic.

        Returns:
            That the server hangs; None if it does not.
        """
        if not silent:
            self._silent_since = None
            return None
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since < SILENT_SECONDS:
            return None
        return f"the server has said nothing for {now - self._silent_since:.0f} s"

    def doubts(self) -> bool:
        """Say whether a model failed in one of its last answers, or the server was silent."""
        return self._silent_since is not None or any(map(any, self._broken.values()))
