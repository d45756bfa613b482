"""Many clients, mixed prompts, and a restart of the server in the middle.

    python benchmarks/soak.py --clients 64 --requests 2000

Every request must end in its own answer, which was computed beforehand by one client alone, or in a
typed error. Whatever ends otherwise (a wrong answer, an untyped error, no end within the timeout)
is counted and makes the exit status 1. Memory of this process and of the server is read as it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from repository import built_repository
from resident_memory import resident_mib
from skimage import data

from slimsam_build.checkpoints import load_checkpoint
from slimsam_client import AsyncSlimSam, Embedding, Prediction, SlimSam, SlimSamError
from slimsam_server import EmbeddedServer

TIMEOUT = 120.0
KINDS = ("click", "points", "box", "both", "many", "refine", "segment")


@dataclass(frozen=True, eq=False)
class Job:
    """One request and the answer that belongs to it."""

    kind: str
    image: NDArray[np.uint8]
    embedding: Embedding
    prompts: dict[str, Any]
    expected: Prediction

    async def run(self, sam: AsyncSlimSam) -> bool:
        """Send it; whether the answer is its own."""
        if self.kind == "segment":
            answer = await sam.segment(self.image, **self.prompts)
        else:
            answer = await sam.predict(self.embedding, **self.prompts)
        return (
            answer.scores.shape == self.expected.scores.shape
            and float(np.abs(answer.scores - self.expected.scores).max()) < 1e-3
            and float((answer.masks != self.expected.masks).mean()) < 1e-3
        )


@dataclass
class Tally:
    """What has become of the requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory_mib: list[tuple[int, float, float]] = field(default_factory=list)
    begun: int = 0
    ended: int = 0


def main() -> int:
    """Run, print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    with built_repository(load_checkpoint("demo")) as repository:
        server = EmbeddedServer(repository)
        server.start()
        port = int(server.grpc_url.rpartition(":")[2])
        try:
            jobs = make_jobs(server.grpc_url)
            tally = Tally()
            started = time.perf_counter()
            asyncio.run(
                load(server, EmbeddedServer(repository, grpc_port=port), jobs, options, tally)
            )
            seconds = time.perf_counter() - started
        finally:
            server.stop()
    wrong = {k: n for k, n in tally.outcomes.items() if k.startswith("WRONG")}
    lost = options.requests - sum(tally.outcomes.values())
    report = {
        "clients": options.clients,
        "requests": options.requests,
        "seconds": round(seconds, 1),
        "outcomes": dict(tally.outcomes),
        "lost": lost,
        "latency_s": {
            f"p{q}": round(float(np.percentile(tally.seconds, q)), 3) for q in (50, 90, 99, 100)
        },
        "memory_mib (ended, client, server)": tally.memory_mib,
    }
    print(json.dumps(report, indent=1))
    return 1 if wrong or lost else 0


def make_jobs(url: str) -> list[Job]:
    """Ask one by one for every kind of prompt on several images."""
    rng = np.random.default_rng(0)
    jobs = []
    with SlimSam(url, timeout=TIMEOUT) as sam:
        for image in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket()):
            height, width = image.shape[:2]
            embedding = sam.embed(image)
            for _ in range(3):
                points = rng.uniform(5, (width - 5, height - 5), (6, 2)).round(1)
                box = [*(points.min(0) - 4), *(points.max(0) + 4)]
                click = sam.predict(embedding, points=points[:1])
                prompts: dict[str, dict[str, Any]] = {
                    "click": {"points": points[:1]},
                    "points": {"points": points[:3], "labels": [1, 0, 1]},
                    "box": {"box": box},
                    "both": {"points": points[:2], "box": box},
                    "many": {"points": [points[:1], points[1:4], points[4:]]},
                    "refine": {"points": points[:1], "mask_input": click.low_res_logits[0]},
                    "segment": {"points": points[:2]},
                }
                for kind in KINDS:
                    ask = prompts[kind]
                    expected = (
                        sam.segment(image, **ask)
                        if kind == "segment"
                        else sam.predict(embedding, **ask)
                    )
                    jobs.append(Job(kind, image, embedding, ask, expected))
    return jobs


async def load(
    server: EmbeddedServer,
    successor: EmbeddedServer,
    jobs: list[Job],
    options: argparse.Namespace,
    tally: Tally,
) -> None:
    """Let all clients work until every request has ended; restart the server half way."""
    rng = np.random.default_rng(1)
    order = rng.integers(0, len(jobs), options.requests).tolist()
    running = [server]

    async def client() -> None:
        async with AsyncSlimSam(server.grpc_url, timeout=TIMEOUT) as sam:
            while tally.begun < options.requests:
                job = jobs[order[tally.begun]]
                tally.begun += 1
                start = time.perf_counter()
                tally.outcomes[await outcome(job, sam)] += 1
                tally.seconds.append(time.perf_counter() - start)
                tally.ended += 1
                if tally.ended % max(options.requests // 20, 1) == 0:
                    mine, served = resident_mib(["self"]), resident_mib(running[-1].processes())
                    tally.memory_mib.append((tally.ended, mine, served))
                    print(f"{tally.ended} ended: {dict(tally.outcomes)}", file=sys.stderr)

    async def restart() -> None:
        while tally.ended < options.requests // 2:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(successor.start)
        running.append(successor)
        print("restarted", file=sys.stderr)

    try:
        await asyncio.gather(restart(), *(client() for _ in range(options.clients)))
    finally:
        successor.stop()


async def outcome(job: Job, sam: AsyncSlimSam) -> str:
    """How a request ended."""
    try:
        right = await asyncio.wait_for(job.run(sam), TIMEOUT + 10)
        return "right" if right else f"WRONG answer to {job.kind}"
    except SlimSamError as error:
        return type(error).__name__
    except asyncio.TimeoutError:
        return "WRONG: hung"
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
