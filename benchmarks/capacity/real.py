"""A real server on this machine: what its lone requests take, and users who come to it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import tritonclient.grpc as triton

from benchmarks.capacity.processor_time import ProcessorTime, read_processor_time
from benchmarks.capacity.sessions import Session
from benchmarks.capacity.simulation import Answer, Outcome
from benchmarks.capacity.times import Part, Request, Times
from benchmarks.scene_pictures import new_picture, random_points
from benchmarks.server_statistics import (
    STAGES,
    ModelStatistics,
    Statistics,
    read_change,
    read_statistics,
)
from slimsam_client import (
    AsyncSlimSam,
    Embedding,
    RequestTimeoutError,
    ServerBusyError,
    UploadedImage,
)
from slimsam_client.contract import CLICK, DECODER, ENCODER, IMAGE, ModelSpec
from slimsam_server import EmbeddedServer

TIMEOUT: Final = 60.0
"""Seconds that users wait."""
Image = Embedding | UploadedImage
Found = TypeVar("Found")


def lone_times(server: EmbeddedServer, requests: int) -> tuple[Times, float]:
    """Measure requests that are alone, one after another.

    Uploads and clicks come by turns, as users send them: a click after other clicks finds all that
    it needs in the processor's caches, and takes less. What is outside of encoder and decoder is
    taken to keep one core busy, and encoder and decoder all the rest of the processor time that
    server and client have used.

    Args:
        server: on this machine.
        requests: of each kind.

    Returns:
        Their times, and the share of the machine that others took meanwhile.
    """
    return asyncio.run(_lone_times(server, requests))


async def _lone_times(server: EmbeddedServer, requests: int) -> tuple[Times, float]:
    pids = [os.getpid(), *server.processes()]
    points = iter(random_points(requests + 1, seed=0))
    before = read_processor_time(pids)
    async with AsyncSlimSam(server.grpc_url, timeout=TIMEOUT) as sam:
        image = await sam.upload(new_picture())
        await _click(sam, image, next(points))  # the first of each asks for more than the others
        pictures = [new_picture() for _ in range(requests)]
        files = iter(pictures)

        async def upload() -> None:
            await sam.upload(next(files))

        async def click() -> None:
            await _click(sam, image, next(points))

        async def upload_again() -> None:
            await sam.upload(pictures[-1])

        turns = (_Kind(upload, IMAGE, ENCODER), _Kind(click, CLICK, DECODER))
        uploads, clicks = await _measure(server, pids, turns, requests)
        (kept,) = await _measure(server, pids, [_Kind(upload_again, IMAGE, None)], requests)
    times = Times("lone requests", False, uploads, Part(kept.seconds, 1 / _cores()), clicks)
    return times, read_processor_time(pids).since(before).others


class _Kind(NamedTuple):
    """Requests of one kind: how to send one, and which models answer it."""

    ask: Callable[[], Awaitable[None]]
    own: ModelSpec
    model: ModelSpec | None


async def _measure(
    server: EmbeddedServer, pids: list[int], kinds: Sequence[_Kind], requests: int
) -> list[Request]:
    """Send the kinds by turns."""
    seconds: list[list[float]] = [[] for _ in kinds]
    busy = [0.0] * len(kinds)
    with triton.InferenceServerClient(server.grpc_url) as client:
        statistics, used = read_statistics(client), read_processor_time(pids)
        for _ in range(requests):
            for number, kind in enumerate(kinds):
                began = time.perf_counter()
                await kind.ask()
                seconds[number].append(time.perf_counter() - began)
                now = read_processor_time(pids)
                busy[number] += now.since(used).own / requests
                used = now
        change = read_change(client, statistics, kinds[-1].own.name, requests)
    return [_request(change, *found) for found in zip(kinds, seconds, busy, strict=True)]


def _request(change: Statistics, kind: _Kind, seconds: list[float], busy: float) -> Request:
    """Divide the mean seconds of a kind's requests, each of which kept the cores busy for some."""
    one_core = 1 / _cores()
    mean = sum(seconds) / len(seconds)
    inside = _in_model(change, kind.own.name, len(seconds))
    modelled = _in_model(change, kind.model.name, len(seconds)) if kind.model else 0.0
    around, rest = max(0.0, mean - inside), max(0.0, inside - modelled)
    share = max(0.0, busy - around - rest) * one_core / modelled if modelled else 0.0
    return Request(
        Part(around, one_core),
        Part(rest, one_core),
        Part(modelled, min(1.0, share)),
        spread=tuple(round(one / mean, 3) for one in seconds),
    )


def _in_model(change: Statistics, name: str, requests: int) -> float:
    """Give the mean seconds of a request in a model, its queue left out."""
    found: ModelStatistics | None = change.get(name)
    if found is None:
        return 0.0
    return sum(found.stages[stage] for stage in STAGES if stage != "queue") / requests


async def _click(sam: AsyncSlimSam, image: Image, point: tuple[float, float]) -> None:
    await sam.predict(image, points=[point], masks="rle")


def run_users(server: EmbeddedServer, sessions: Sequence[Session]) -> tuple[Outcome, ProcessorTime]:
    """Let users come, each with a picture of their own, until the last one has the last answer.

    Returns:
        What they got; and the processor time, of which `own` is server and users.
    """
    return asyncio.run(_run_users(server, sessions))


async def _run_users(
    server: EmbeddedServer, sessions: Sequence[Session]
) -> tuple[Outcome, ProcessorTime]:
    outcome = Outcome()
    pids = [os.getpid(), *server.processes()]
    files = {session.picture: new_picture() for session in sessions}
    async with AsyncSlimSam(server.grpc_url, timeout=TIMEOUT) as sam:
        await _click(sam, await sam.upload(new_picture()), (1.0, 1.0))
        used, began = read_processor_time(pids), time.perf_counter()

        async def note(kind: str, asking: Awaitable[Found]) -> Found | None:
            asked, found, late = time.perf_counter(), None, False
            try:
                found = await asking
            except (RequestTimeoutError, ServerBusyError):
                late = True  # refused until the timeout, or not answered before it
            seconds = time.perf_counter() - asked
            outcome.answers.append(Answer(kind, asked - began, seconds, late))
            return found

        async def use(session: Session) -> None:
            await asyncio.sleep(began + session.start - time.perf_counter())
            image = await note("upload", sam.upload(files[session.picture]))
            points = random_points(len(session.thinks), seed=session.picture)
            for think, point in zip(session.thinks, points, strict=True):
                if image is not None:
                    await asyncio.sleep(think)
                    await note("click", _click(sam, image, point))

        await asyncio.gather(*map(use, sessions))
        return outcome, read_processor_time(pids).since(used)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
