"""Processes: one that ends with this one, the children that it has, and whether they live."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Final

LOOKS: Final = 3
"""At a process's threads: when one ends, its children fall to another, seen already perhaps."""

# Becomes the program of its arguments, once the kernel knows to kill it with its parent. That is a
# program and no `preexec_fn`, which would fork this process: gRPC's handlers of a fork write to the
# child's standard error, and a lock that another thread holds is never released there.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):  # it has not ended before that
    os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildProcess:
    """A process that the kernel kills when this one ends, however that comes about.

    The kernel goes by the thread that started the child, not by its process. So a thread of its
    own starts the child, and stays until `release`: a server that was started in a worker thread
    goes on when that thread ends.

    Args:
        command: the program, as an absolute path, and its arguments.
        environment: its environment.
        log: where its output goes; None: where this process's goes.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], log: IO[bytes] | None
    ) -> None:
        self._arguments = (command, environment, log)
        self._process: subprocess.Popen[bytes] | None = None
        self._error: BaseException | None = None
        self._started = threading.Event()
        self._released = threading.Event()
        try:
            threading.Thread(target=self._run, name="tritonserver", daemon=True).start()
        except RuntimeError as error:  # under a limit of processes
            self._error = OSError(errno.EAGAIN, str(error))
            self._started.set()

    def _run(self) -> None:
        command, environment, log = self._arguments
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        except BaseException as error:
            self._error = error
        self._started.set()
        self._released.wait()

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        """The process, once it has been started.

        Raises:
            OSError: it could not be.
        """
        self._started.wait()
        if self._process is None:
            assert self._error is not None
            raise self._error
        return self._process

    def kill(self) -> None:
        """Kill the process and its group, and wait for it.

        Stubs share the group, and outlive a tritonserver that was killed by a few seconds.
        """
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()

    def release(self) -> None:
        """Let the thread end, and with it the process if it still runs."""
        self._released.set()


def children(pid: int) -> list[int]:
    """Give the ids of a process's children; none of one that has ended."""
    tasks = Path(f"/proc/{pid}/task")
    found: list[int] = []
    for _ in range(LOOKS):
        try:
            threads = os.listdir(tasks)
        except (FileNotFoundError, ProcessLookupError):
            return []
        found, ended = [], False
        for thread in threads:
            try:
                found += map(int, (tasks / thread / "children").read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                ended = True
        if not ended:
            break
    return found


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and is not yet waited for does not."""
    try:
        # "pid (name) state ...": the name may hold spaces, so look behind its bracket.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def reap(pids: list[int]) -> None:
    """Take note of processes' ends: orphans fall to the first process of a container."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass  # somebody else's


def described_status(status: int) -> str:
    """Give an exit status, with the signal that it stands for."""
    if status >= 0:
        return str(status)
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return str(status)
    memory = "; the kernel does so when memory runs out" if name == "SIGKILL" else ""
    return f"{status} ({name}{memory})"
