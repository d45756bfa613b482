"""A process of its own for what may die: its answers, and its ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from slimsam_build.apart import Apart
from slimsam_build.errors import TargetError


def test_it_calls_functions_of_another_process() -> None:
    with Apart() as apart:
        other = apart.call(60, os.getpid)
        assert other != os.getpid() and apart.call(60, os.getpid) == other
        assert apart.call(60, sorted, [3, 1, 2], reverse=True) == [3, 2, 1]
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


def test_what_is_raised_there_is_said_here(tmp_path: Path) -> None:
    with Apart() as apart:
        with pytest.raises(TargetError, match="^mkdir: FileExistsError: .*"):
            apart.call(60, os.mkdir, str(tmp_path))
        assert apart.call(60, abs, -1) == 1  # it goes on


def test_its_death_is_not_ours() -> None:
    with Apart() as apart, pytest.raises(TargetError, match="^abort died: signal SIGABRT$"):
        apart.call(60, os.abort)
    with Apart() as apart, pytest.raises(TargetError, match="^_exit died: exit status 7$"):
        apart.call(60, os._exit, 7)
    with Apart() as apart:
        os.kill(apart.call(60, os.getpid), signal.SIGKILL)
        with pytest.raises(TargetError, match="^getpid died: signal SIGKILL$"):
            apart.call(60, os.getpid)


def test_what_takes_too_long_is_ended() -> None:
    with Apart() as apart:
        other = apart.call(60, os.getpid)
        with pytest.raises(TargetError, match=r"^sleep took more than 0.1 s$"):
            apart.call(0.1, time.sleep, 600)
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)
