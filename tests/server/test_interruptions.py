"""Cancelled requests and a restart, on a real tritonserver."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from skimage import data

from slimsam_client import AsyncSlimSam, Prediction, ServerUnavailableError, SlimSam
from slimsam_client.contract import ENCODER
from slimsam_server import EmbeddedServer

TIMEOUT = 120.0
CLICK = [(300, 200)]


@pytest.fixture(scope="module")
def server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    """On a port of its own, so that it comes back at the same address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with EmbeddedServer(demo_repository, grpc_port=port) as running:
        yield running


def seconds_of_encoding(url: str) -> float:
    with triton.InferenceServerClient(url) as client:
        statistics = client.get_inference_statistics(ENCODER.name).model_stats[0]
        return float(statistics.inference_stats.compute_infer.ns) / 1e9


def test_cancelled_tasks_are_not_computed(server: EmbeddedServer) -> None:
    url, image, count = server.grpc_url, data.coffee(), 24

    async def main() -> None:
        async with AsyncSlimSam(url, TIMEOUT) as sam:
            await sam.embed(image)
            before = seconds_of_encoding(url)
            await sam.embed(image)
            one = seconds_of_encoding(url) - before
            tasks = [asyncio.create_task(sam.embed(image)) for _ in range(count)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            cancelled = sum(isinstance(each, asyncio.CancelledError) for each in outcomes)
            assert cancelled > count / 2
            await sam.embed(image)  # the queue is served in order, so the others are through
            spent = seconds_of_encoding(url) - before
            # Of all that was sent, what came before the cancelling and the last one.
            assert spent < (count + 2) * one / 2, (spent, one)

    asyncio.run(main())


def test_a_restart_is_outlasted_by_both_clients(server: EmbeddedServer) -> None:
    """Requests under way, sent while nothing listens, and sent while it starts."""
    image = data.coffee()
    stop = threading.Event()
    answers: list[Prediction] = []
    with SlimSam(server.grpc_url, TIMEOUT) as sam:
        embedding = sam.embed(image)
        expected = sam.predict(embedding, points=CLICK)

        def click_on() -> int:
            count = 0
            while not stop.is_set():
                answers.append(sam.predict(embedding, points=CLICK))
                count += 1
            return count

        async def click_on_async() -> int:
            count = 0
            async with AsyncSlimSam(server.grpc_url, TIMEOUT) as other:
                while not stop.is_set():
                    tasks = (other.predict(embedding, points=CLICK) for _ in range(3))
                    answers.extend(await asyncio.gather(*tasks))
                    count += 3
            return count

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            try:
                clicks = [pool.submit(click_on) for _ in range(3)]
                clicks.append(pool.submit(lambda: asyncio.run(click_on_async())))
                time.sleep(1)
                server.stop()
                late = pool.submit(sam.embed, image)
                segmented = pool.submit(sam.segment, image, points=CLICK)
                start = time.monotonic()
                with pytest.raises(ServerUnavailableError), SlimSam(server.grpc_url) as stranger:
                    stranger.predict(embedding, points=CLICK)
                assert time.monotonic() - start < 2  # which never had an answer
                start = time.monotonic()
                with pytest.raises(ServerUnavailableError):
                    sam.with_options(timeout=2).predict(embedding, points=CLICK)
                assert 0.5 < time.monotonic() - start < 4
                assert not any(future.done() for future in [late, segmented, *clicks])
                server.start()
                again = late.result(TIMEOUT).image_embeddings
                assert np.array_equal(again, embedding.image_embeddings)
                assert np.array_equal(segmented.result(TIMEOUT).masks, expected.masks)
                time.sleep(1)
            finally:
                stop.set()
            assert sum(future.result(TIMEOUT) for future in clicks) == len(answers)
    for answer in answers:
        assert np.array_equal(answer.masks, expected.masks)
        assert np.array_equal(answer.scores, expected.scores)
