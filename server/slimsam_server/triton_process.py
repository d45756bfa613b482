"""A running tritonserver and the processes of its Python models."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slimsam_client import SlimSamError
from slimsam_server import log
from slimsam_server.errors import ServerError
from slimsam_server.ports import listens
from slimsam_server.probe import may_serve
from slimsam_server.processes import ChildProcess, children, described_status, is_alive, reap

START_SECONDS: Final = 300
LAST_ANSWER_SECONDS: Final = 0.2
"""How long answers may be on their way to clients when no model works anymore."""
LAST_WORDS_SECONDS: Final = 5
"""An error that a server has logged so long before it ended may be the reason."""


class TritonProcess:
    """A tritonserver, started.

    Args:
        command: the program, as an absolute path, and its flags.
        environment: its environment.
        log_path: the file that its log goes to; None: where this process's output goes.

    Raises:
        ServerError: it cannot be started.
        OSError: the file cannot be written.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], log_path: Path | None
    ) -> None:
        self._log_path = log_path
        self._log_read = 0
        self._serves = False
        self._stubs: list[int] = []
        log_file = None if log_path is None else log_path.open("wb")
        self._child = ChildProcess(command, environment, log_file)
        try:
            self._process = self._child.popen
        except BaseException as error:
            self._child.release()  # and with it the process, if there is one
            if isinstance(error, OSError):
                raise ServerError(f"tritonserver: expected to start it, got {error}") from error
            raise
        finally:
            if log_file is not None:
                log_file.close()

    def wait_until_it_serves(
        self, address: str, probe: Callable[[], SlimSamError | None] | None
    ) -> None:
        """Wait until a real inference has been answered, or is not for the load alone.

        Clients of a server that is started again come back all at once.

        Args:
            address: host:port at which it will listen.
            probe: the inference; it gives what came instead of an answer. None does without.

        Raises:
            ServerError: it has ended, or does not serve in time.
        """
        deadline = time.monotonic() + START_SECONDS
        answer: object = "no answer yet"
        while time.monotonic() < deadline:
            if failure := self.failure():
                raise ServerError(failure)
            if listens(address):
                # Triton opens its port when all models are ready.
                error = None if probe is None else probe()
                if error is None or may_serve(error):
                    self._stubs = children(self._process.pid)
                    # Complaints of the start are no reason of what happens later.
                    self._log_read = self._logged()
                    self._serves = True
                    return
                answer = error
            time.sleep(0.1)
        raise ServerError(
            f"expected masks within {START_SECONDS} s of the start, got: {answer}{self._last_log()}"
        )

    def failure(self) -> str | None:
        """Say what has died, tritonserver or one of its stubs; None while all live.

        A dead stub must be looked for: Triton 2.51 goes on calling itself ready without it.
        """
        status = self._process.poll()
        if status is not None:
            # Who is killed has no last words.
            said = "" if status == -signal.SIGKILL else self._last_log()
            return f"tritonserver ended with status {described_status(status)}{said}"
        if not all(map(is_alive, self._stubs)):
            return f"a model's process has died{self._last_log()}"
        return None

    def processes(self) -> list[int]:
        """Give the ids of tritonserver's process and of its models', while it runs."""
        if self._process.poll() is not None:
            return []
        return [self._process.pid, *children(self._process.pid)]

    def end(self, seconds: float) -> None:
        """Ask it to end, and kill what is left.

        Args:
            seconds: how long that may take; infinity: as long as it takes itself.
        """
        if self._process.poll() is None and all(map(is_alive, self._stubs)):
            logged = self._logged()
            self._process.terminate()
            deadline = time.monotonic() + seconds
            while self._process.poll() is None and time.monotonic() < deadline:
                if self._log_path and log.models_are_stopped(self._log_path, logged):
                    time.sleep(LAST_ANSWER_SECONDS)
                    break
                time.sleep(0.02)
        self._child.kill()
        deadline = time.monotonic() + 1
        while any(map(is_alive, self._stubs)) and time.monotonic() < deadline:
            time.sleep(0.02)
        reap(self._stubs)
        self._child.release()

    def _logged(self) -> int:
        try:
            return 0 if self._log_path is None else self._log_path.stat().st_size
        except OSError:  # what cleans temporary directories has removed it
            return 0

    def _last_log(self) -> str:
        """What Triton has complained about last: while it starts, or just now."""
        if self._log_path is None:
            return ""
        since = time.time() - LAST_WORDS_SECONDS if self._serves else None
        reason = log.reason(self._log_path, self._log_read, since)
        return f"; its log says: {reason}" if reason else ""
