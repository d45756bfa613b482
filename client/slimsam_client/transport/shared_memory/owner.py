"""The owners of regions: a region's name tells which client of which process made it.

So other clients can unregister regions that nobody will use again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(
    r"slimsam-(?P<namespace>\d+)-(?P<pid>\d+)-(?P<start>\d+)-(?P<client>\d+)-\d+"
)


def region_name(client: int, number: int) -> str:
    """Name a region of this process.

    Args:
        client: the number of the client in the process.
        number: the number of the region in the client.
    """
    pid = os.getpid()
    return f"slimsam-{_namespace()}-{pid}-{_start(pid)}-{client}-{number}"


def is_abandoned(region: str, clients: Container[int]) -> bool:
    """Whether the process that made a region has ended, or its client is closed or forgotten.

    Args:
        region: name of the region. Regions of other software are not abandoned; nor are those of
            another container (PID namespace), about whose processes nothing is known here.
        clients: numbers of this process's clients that are open.
    """
    name = _NAME.fullmatch(region)
    if name is None or int(name["namespace"]) != _namespace():
        return False
    pid = int(name["pid"])
    if int(name["start"]) != _start(pid):
        return True
    return pid == os.getpid() and int(name["client"]) not in clients


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _start(pid: int) -> int | None:
    """Give when a process started, in clock ticks since the machine did; None if it does not live.

    A process id is given again to later processes; with this time it is unique.
    """
    try:
        # The file reads "pid (name) state ..."; the name may hold spaces, so the fields are taken
        # from behind its parenthesis.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
