"""A process that may die, hang or lose its GPU without the build that started it.

A library in C++ that aborts takes its process with it, and a kernel that reads where nothing is
breaks CUDA for all that its process does later. So what has not proved itself runs apart.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import ParamSpec, TypeVar, cast

from slimsam_build.errors import BuildError, TargetError, one_line, reason

P = ParamSpec("P")
T = TypeVar("T")


class Apart:
    """A process that calls functions for this one, and ends with the `with` that has it.

    It is no copy of this process: functions are found by module and name, and what they keep stays
    there for the next call. `multiprocessing` would run the caller's script again.
    """

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        number = theirs.fileno()
        command = [sys.executable, "-m", __name__, str(number)]
        self._process = subprocess.Popen(command, pass_fds=[number], stdin=subprocess.DEVNULL)
        theirs.close()

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def call(
        self, seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function there.

        Args:
            seconds: that it may take; then its process is ended.
            function: of a module, by its name; with arguments and a result that can be pickled.
            args: of it.
            kwargs: of it.

        Raises:
            TargetError: it raised an exception, its process died, or the time is over.
        """
        try:
            self._connection.send((function, args, kwargs))
            if not self._connection.poll(seconds):
                self._process.kill()
                raise TargetError(f"{function.__name__} took more than {seconds:g} s")
            done, result = self._connection.recv()
        except (EOFError, OSError):
            raise TargetError(f"{function.__name__} died: {_end(self._process)}") from None
        if not done:
            raise TargetError(f"{function.__name__}: {result}")
        return cast(T, result)


def _end(process: subprocess.Popen[bytes]) -> str:
    """Say how a process ended."""
    status = process.wait()
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def serve(connection: Connection) -> None:
    """Call what is asked for until the other side is gone."""
    while True:
        try:
            function, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            answer = True, function(*args, **kwargs)
        except BuildError as error:
            answer = False, one_line(str(error))
        except Exception as error:
            traceback.print_exc()
            answer = False, reason(error)
        connection.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
