"""Processes of slimsam-serve: their ready line, their children, and what they leave."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Final

from slimsam_server.processes import children, is_alive

GONE_SECONDS: Final = 120


def shared_memory(temporary: Path) -> set[str]:
    """The regions of the servers whose temporary directories lie here, or have lain."""
    names = {path.name.rpartition("-")[2] for path in temporary.iterdir()}
    return {region for region in os.listdir("/dev/shm") if any(name in region for name in names)}


def ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(
        r"ready: grpc (127\.0\.0\.1:\d+), metrics http://127\.0\.0\.1:\d+/metrics", line
    )
    assert found, (line, process.stderr.read() if process.stderr and process.poll() else "")
    return found[1]


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [pid for child in found for pid in descendants(child)]


def wait_until_gone(pids: list[int]) -> bool:
    """Wait for processes to end, for long: one that was killed gives its memory back before."""
    deadline = time.monotonic() + GONE_SECONDS
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def first_stub(tritonserver: int, model: str) -> int:
    """The process of a model's first instance: Triton names it among the stub's arguments."""
    (found,) = [
        pid
        for pid in children(tritonserver)
        if f"{model}_0_0" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    ]
    return found
