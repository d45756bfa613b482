"""How much memory processes hold, as /proc has it.

Pages that several processes share count in each of them: Triton and its models' processes share
tensors in transit, a few MiB for each model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def resident_mib(pids: Iterable[int | str]) -> float:
    """Add up the memory that processes hold now, in MiB; "self" is this process."""
    return round(sum(_field(pid, "VmRSS") for pid in pids), 1)


def peak_mib(pids: Iterable[int | str]) -> float:
    """Add up the most that each process has held, in MiB, since its start or `reset_peak`.

    Their peaks need not fall together, so they never held more than this.
    """
    return round(sum(_field(pid, "VmHWM") for pid in pids), 1)


def reset_peak(pids: Iterable[int | str]) -> None:
    """Let the peak of processes of one's own begin anew."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _field(pid: int | str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    if found is None:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(found[1]) / 1024
