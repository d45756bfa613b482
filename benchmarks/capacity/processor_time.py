"""Processor time, as /proc has it: of some processes, and of everybody else on the machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
IDLE: Final = (3, 4)
"""Fields of /proc/stat's first line in which nobody works: idle and iowait."""


@dataclass(frozen=True)
class ProcessorTime:
    """Seconds of processor time since some moment of the past.

    Attributes:
        own: of the processes asked for.
        all: of everybody, what a hypervisor gave to other machines included.
        passed: of all cores together, idle or not.
    """

    own: float
    all: float
    passed: float

    def since(self, earlier: ProcessorTime) -> ProcessorTime:
        """What was used between two moments."""
        return ProcessorTime(
            self.own - earlier.own, self.all - earlier.all, self.passed - earlier.passed
        )

    @property
    def others(self) -> float:
        """The share of the machine that all other processes took."""
        return max(0.0, self.all - self.own) / self.passed


def read_processor_time(pids: Iterable[int]) -> ProcessorTime:
    """Read what processes, all their threads included, and the machine have used."""
    own = 0
    for pid in pids:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own += int(after_name[11]) + int(after_name[12])
    # Guests' time is part of user's.
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = sum(fields[number] for number in IDLE)
    return ProcessorTime(own / TICKS, (sum(fields) - idle) / TICKS, sum(fields) / TICKS)
