"""Many clients, mixed prompts, and a server to which everything happens.

    python -m benchmarks.soak --clients 64 --requests 2000
    python -m benchmarks.soak --clients 32 --requests 1000 --pictures 200 --kept 50

`slimsam-serve` is restarted, tritonserver and each model's process are killed, one is stopped, and
a request ends the server; hostile requests come all the time. Every request of the others must end
in its own answer, which was computed beforehand by one client alone, or in a typed error. Whatever
ends otherwise (a wrong answer, an untyped error, no end within the timeout) is counted and makes
the exit status 1. Memory of this process and of the server is read as it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.repository import built_repository
from benchmarks.resident_memory import resident_mib
from benchmarks.soak.faults import Served, hostile_requests
from benchmarks.soak.jobs import TIMEOUT, Job, mixed_jobs, upload_jobs
from slimsam_build.checkpoints import load_checkpoint
from slimsam_client import AsyncSlimSam, SlimSamError
from slimsam_client.serving.cache.layout import MASKS_PER_PICTURE, CacheSizes


@dataclass
class Tally:
    """What has become of the requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    hostile: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory_mib: list[tuple[int, float, float]] = field(default_factory=list)
    begun: int = 0
    ended: int = 0


def main() -> int:
    """Run, print a JSON object."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.soak", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--faults", type=int, help="only so many of them, the first; default: all")
    parser.add_argument(
        "--pictures", type=int, help="clicks on so many uploaded pictures; default: all kinds on 4"
    )
    parser.add_argument("--kept", type=int, help="pictures that the server keeps; default: 85")
    options = parser.parse_args()
    with built_repository(load_checkpoint("demo")) as repository:
        if options.kept:
            keep(repository, options.kept)
        with Served(repository) as server:
            jobs = (
                upload_jobs(server.url, options.pictures)
                if options.pictures
                else mixed_jobs(server.url, options.requests)
            )
            tally = Tally()
            started = time.perf_counter()
            asyncio.run(load(server, jobs, options, tally))
            seconds = time.perf_counter() - started
    wrong = {k: n for k, n in tally.outcomes.items() if k.startswith("WRONG")}
    lost = options.requests - sum(tally.outcomes.values())
    report = {
        "clients": options.clients,
        "requests": options.requests,
        "seconds": round(seconds, 1),
        "outcomes": dict(tally.outcomes),
        "lost": lost,
        "hostile": dict(tally.hostile),
        "latency_s": {
            f"p{q}": round(float(np.percentile(tally.seconds, q)), 3) for q in (50, 90, 99, 100)
        },
        "memory_mib (ended, client, server)": tally.memory_mib,
    }
    print(json.dumps(report, indent=1))
    return 1 if wrong or lost else 0


def keep(repository: Path, pictures: int) -> None:
    """Let a server keep so many uploaded pictures."""
    count = CacheSizes(pictures, pictures * MASKS_PER_PICTURE).nbytes
    for path in repository.glob("slimsam_*/**/*.pbtxt"):
        text = path.read_text()
        path.write_text(
            re.sub(r'(key: "cache_bytes" .*?string_value: ")\d+', rf"\g<1>{count}", text)
        )


async def load(server: Served, jobs: list[Job], options: argparse.Namespace, tally: Tally) -> None:
    """Let all clients work until every request has ended, while the faults happen."""
    rng = np.random.default_rng(1)
    order = rng.integers(0, len(jobs), options.requests).tolist()

    async def client() -> None:
        async with AsyncSlimSam(server.url, timeout=TIMEOUT) as sam:
            while tally.begun < options.requests:
                job = jobs[order[tally.begun]]
                tally.begun += 1
                start = time.perf_counter()
                tally.outcomes[await outcome(job, sam)] += 1
                tally.seconds.append(time.perf_counter() - start)
                tally.ended += 1
                if tally.ended % max(options.requests // 20, 1) == 0:
                    with contextlib.suppress(ProcessLookupError):  # the server is away
                        served = resident_mib(server.processes())
                        tally.memory_mib.append((tally.ended, resident_mib(["self"]), served))
                    print(f"{tally.ended} ended: {dict(tally.outcomes)}", file=sys.stderr)

    async def happen() -> None:
        faults = dict(itertools.islice(server.faults().items(), options.faults))
        for number, (name, fault) in enumerate(faults.items(), 1):
            while tally.ended < number * options.requests // (len(faults) + 1):
                await asyncio.sleep(0.05)
            async with AsyncSlimSam(server.url, timeout=TIMEOUT) as sam:
                await sam.wait_until_ready(TIMEOUT)
            await asyncio.to_thread(fault)
            print(name, file=sys.stderr)

    async def attack() -> None:
        requests = itertools.cycle(hostile_requests())
        while tally.ended < options.requests:
            tally.hostile[await asyncio.to_thread(server.send, next(requests))] += 1
            await asyncio.sleep(0.25)

    await asyncio.gather(happen(), attack(), *(client() for _ in range(options.clients)))


async def outcome(job: Job, sam: AsyncSlimSam) -> str:
    """How a request ended."""
    try:
        right = await asyncio.wait_for(job.run(sam), TIMEOUT + 10)
        return "right" if right else f"WRONG answer to {job.kind}"
    except SlimSamError as error:
        print(f"{job.kind}: {type(error).__name__}: {error}", file=sys.stderr)
        return type(error).__name__
    except asyncio.TimeoutError:
        return "WRONG: hung"
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
