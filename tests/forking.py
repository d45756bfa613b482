"""A process that uses a client, forks, and says what its children find; a test's other process.

Arguments: the server's address, what the parent does before, and for each child what it uses.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import Any

import numpy as np

from slimsam_client import AsyncSlimSam, SlimSam, SlimSamError

IMAGE = np.full((9, 9, 3), 7, np.uint8)
CHILD_SECONDS = 90.0


def embed(client: Any) -> None:
    if isinstance(client, AsyncSlimSam):
        asyncio.run(client.embed(IMAGE))
    else:
        client.embed(IMAGE)


def prepared(url: str, before: str) -> Any:
    """The parent's client, used in one of several ways."""
    kind = AsyncSlimSam if before == "asyncio" else SlimSam
    client: Any = kind(url, 60)
    if before != "nothing":
        embed(client)
    if before == "in flight":
        threading.Thread(target=embed, args=(client,), daemon=True).start()
        time.sleep(0.5)
    if before == "closed":
        client.close()
    if before == "locked":  # by a thread that the child will not have
        client._connection._routes.any._lock.acquire()
    return client


def child(url: str, client: Any, used: str) -> str:
    if used == "new":
        client = SlimSam(url, 60)
    if used == "new asyncio":
        client = AsyncSlimSam(url, 60)
    try:
        embed(client)
    except SlimSamError as error:
        return f"{type(error).__name__}: {error}"
    return "answered"


def main() -> None:
    url, before, *uses = sys.argv[1:]
    client = prepared(url, before)
    children = []
    for used in uses:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writing, child(url, client, used).encode())
            os._exit(0)
        os.close(writing)
        children.append((pid, reading))
    end = time.monotonic() + CHILD_SECONDS
    for pid, reading in children:
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                break
            time.sleep(0.02)
        with open(reading, "rb") as said:
            print(said.read().decode() or "nothing: it hung, or was killed", flush=True)
    if before not in ("closed", "locked"):
        embed(client)
        print("and the parent goes on", flush=True)
    os._exit(0)  # without gRPC's destructors, of which this is no test


if __name__ == "__main__":
    main()
