"""Cancelled requests and a restart, on a real tritonserver."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from inference_counts import counts, settled_counts
from skimage import data

from slimsam_client import AsyncSlimSam, Prediction, ServerUnavailableError, SlimSam
from slimsam_client.contract import ENCODER
from slimsam_server import EmbeddedServer

TIMEOUT = 120.0
CLICK = [(300, 200)]
TRIES = 10


@pytest.fixture(scope="module")
def server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    """Of its own: it is restarted."""
    with EmbeddedServer(demo_repository) as running:
        yield running


@pytest.mark.parametrize("kind", ["embed", "segment"])
def test_cancelled_tasks_are_not_computed(kind: str, server: EmbeddedServer) -> None:
    url, image, count = server.grpc_url, data.coffee(), 24
    prompts = {} if kind == "embed" else {"points": CLICK}

    async def main() -> None:
        async with AsyncSlimSam(url, TIMEOUT) as sam:
            await sam.embed(image)
            ask = getattr(sam, kind)
            for _ in range(TRIES):
                before = settled_counts(url, ENCODER.name)[0]
                tasks = [asyncio.create_task(ask(image, **prompts)) for _ in range(count)]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await sam.wait_until_ready(TIMEOUT)  # on the same connection: so it has heard
                heard = counts(url, ENCODER.name)[0]
                if heard - before < count / 2:  # else the server went on while this process stood
                    break
            await sam.embed(image)  # the queue is served in order, so the others are through
            # What was under way, what begins before Triton looks at its queue, and the last one.
            assert heard - before < count / 2
            assert settled_counts(url, ENCODER.name, heard + 1)[0] - heard - 1 < count / 6

    asyncio.run(main())


def test_expired_requests_are_not_computed(server: EmbeddedServer) -> None:
    url, image = server.grpc_url, data.coffee()

    async def main() -> None:
        async with AsyncSlimSam(url, TIMEOUT) as sam:
            await sam.segment(image, points=CLICK)
            hasty = sam.with_options(timeout=1)
            count, expired = 30, 0
            while expired <= count / 2:  # a fast machine answers many in their time
                count *= 2
                tasks = [hasty.segment(image, points=CLICK) for _ in range(count)]
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                expired = sum(not isinstance(each, Prediction) for each in outcomes)
            before = counts(url, ENCODER.name)[0]
            await sam.segment(image, points=CLICK)  # the queue is served in order
            # However many were encoded in their time: when it is over, no more than what is at
            # work, and what begins before the server has heard of it, besides the last one.
            assert settled_counts(url, ENCODER.name, before + 1)[0] - before - 1 < count / 6

    asyncio.run(main())


def test_a_restart_is_outlasted_by_both_clients(server: EmbeddedServer) -> None:
    """Requests under way, sent while nothing listens, and sent while it starts."""
    image = data.coffee()
    stop = threading.Event()
    answered = [threading.Event() for _ in range(4)]
    answers: list[Prediction] = []
    with SlimSam(server.grpc_url, TIMEOUT) as sam:
        embedding = sam.embed(image)
        expected = sam.predict(embedding, points=CLICK)

        def click_on(has_answer: threading.Event) -> int:
            count = 0
            while not stop.is_set():
                answers.append(sam.predict(embedding, points=CLICK))
                count += 1
                has_answer.set()
            return count

        async def click_on_async(has_answer: threading.Event) -> int:
            count = 0
            async with AsyncSlimSam(server.grpc_url, TIMEOUT) as other:
                while not stop.is_set():
                    tasks = (other.predict(embedding, points=CLICK) for _ in range(3))
                    answers.extend(await asyncio.gather(*tasks))
                    count += 3
                    has_answer.set()
            return count

        def wait_for_answers() -> None:
            """Wait until each of them has had another one."""
            for has_answer in answered:
                has_answer.clear()
            assert all(has_answer.wait(TIMEOUT) for has_answer in answered)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            try:
                clicks = [pool.submit(click_on, each) for each in answered[1:]]
                clicks.append(pool.submit(lambda: asyncio.run(click_on_async(answered[0]))))
                wait_for_answers()  # who has had none is told at once that nobody is there
                server.stop()
                late = pool.submit(sam.embed, image)
                segmented = pool.submit(sam.segment, image, points=CLICK)
                start = time.monotonic()
                with pytest.raises(ServerUnavailableError), SlimSam(server.grpc_url) as stranger:
                    stranger.predict(embedding, points=CLICK)
                assert time.monotonic() - start < TIMEOUT / 2  # which never had an answer
                start = time.monotonic()
                with pytest.raises(ServerUnavailableError):
                    sam.with_options(timeout=2).predict(embedding, points=CLICK)
                assert 0.5 < time.monotonic() - start < TIMEOUT / 2
                assert not any(future.done() for future in [late, segmented, *clicks])
                server.start()
                again = late.result(TIMEOUT).image_embeddings
                assert np.array_equal(again, embedding.image_embeddings)
                assert np.array_equal(segmented.result(TIMEOUT).masks, expected.masks)
                wait_for_answers()
            finally:
                stop.set()
            assert sum(future.result(TIMEOUT) for future in clicks) == len(answers)
    for answer in answers:
        assert np.array_equal(answer.masks, expected.masks)
        assert np.array_equal(answer.scores, expected.scores)
