"""What is asyncio's own: loops, cancelling, closing under way. And threads, for the other one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from slimsam_client import (
    AsyncSlimSam,
    BatchError,
    Embedding,
    RequestCancelledError,
    SettingsError,
    SlimSam,
)
from slimsam_client.transport.cancellation import answer_within

IMAGE = np.full((1024, 1024, 3), 7, np.uint8)
EMBEDDING = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))
CLICK: dict[str, Any] = {"points": [[1, 1]]}


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_a_client_is_older_than_its_loop_and_outlives_it(scripted: Any) -> None:
    servicer, url = scripted
    sam = AsyncSlimSam(url)  # as a module of a web application makes it
    for _ in range(2):
        asyncio.run(sam.predict(EMBEDDING, **CLICK))
    asyncio.run(sam.close())
    assert len(servicer.seen) == 2


def test_a_loop_beside_the_first_gets_a_clear_error(scripted: Any) -> None:
    servicer, url = scripted
    servicer.open.clear()
    sam = AsyncSlimSam(url)
    other = threading.Thread(target=lambda: asyncio.run(sam.predict(EMBEDDING, **CLICK)))
    other.start()

    async def beside() -> None:
        await until(lambda: bool(servicer.seen))
        with pytest.raises(SettingsError, match="got another one beside it; make a client for"):
            await sam.predict(EMBEDDING, **CLICK)

    asyncio.run(beside())
    servicer.open.set()
    other.join()
    asyncio.run(sam.close())


def test_cancelling_a_task_cancels_its_request(scripted: Any) -> None:
    servicer, url = scripted
    servicer.open.clear()

    async def main() -> None:
        async with AsyncSlimSam(url) as sam:
            task = asyncio.create_task(sam.predict(EMBEDDING, **CLICK))
            await until(lambda: bool(servicer.seen))
            assert not servicer.seen[0].ended.is_set()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(servicer.seen[0].ended.is_set)
            while len(servicer.seen) < 2:  # on a busy machine it may end before it is sent
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(sam.predict(EMBEDDING, **CLICK), 0.5)
            await until(lambda: all(seen.ended.is_set() for seen in servicer.seen))

    asyncio.run(main())


def test_cancelling_a_list_cancels_what_is_under_way_and_the_rest(scripted: Any) -> None:
    servicer, url = scripted
    servicer.open.clear()

    async def main() -> None:
        async with AsyncSlimSam(url, concurrency=2) as sam:
            task = asyncio.create_task(sam.embed([IMAGE] * 6))
            await until(lambda: len(servicer.seen) == 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: all(seen.ended.is_set() for seen in servicer.seen))
            servicer.open.set()
            await asyncio.sleep(0.3)
            assert len(servicer.seen) == 2

    asyncio.run(main())


def test_cancelling_ends_the_retries(scripted: Any) -> None:
    servicer, url = scripted
    servicer.script["ModelInfer"] = [grpc.StatusCode.UNAVAILABLE] * 100

    async def main() -> None:
        async with AsyncSlimSam(url) as sam:
            task = asyncio.create_task(sam.predict(EMBEDDING, **CLICK))
            await until(lambda: len(servicer.seen) >= 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            servicer.script.clear()
            await sam.predict(EMBEDDING, **CLICK)  # behind what was on its way just then
            sent = len(servicer.seen)
            await asyncio.sleep(0.5)
            assert len(servicer.seen) == sent

    asyncio.run(main())


@pytest.mark.parametrize("outcome", [b"answer", grpc.RpcError()])
def test_a_cancellation_that_meets_the_answer_is_not_lost(outcome: Any) -> None:
    async def main() -> None:
        answer = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(answer_within(10, answer))
        await asyncio.sleep(0)  # until it waits
        if isinstance(outcome, bytes):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_closing_fails_tasks_that_wait(scripted: Any) -> None:
    servicer, url = scripted
    servicer.open.clear()

    async def main() -> None:
        sam = AsyncSlimSam(url)
        one = asyncio.create_task(sam.predict(EMBEDDING, **CLICK))
        many = asyncio.create_task(sam.embed([IMAGE] * 3))
        await until(lambda: len(servicer.seen) == 4)
        await sam.close()
        with pytest.raises(RequestCancelledError, match="expected an open client"):
            await one
        with pytest.raises(BatchError) as error:
            await many
        assert [type(each) for each in error.value.errors.values()] == [RequestCancelledError] * 3

    asyncio.run(main())


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Task.cancelling of 3.11, this cannot be told from a call that closing cancelled",
)
def test_a_task_that_is_cancelled_while_its_client_closes(scripted: Any) -> None:
    servicer, url = scripted
    servicer.open.clear()

    async def main() -> None:
        sam = AsyncSlimSam(url)
        task = asyncio.create_task(sam.predict(EMBEDDING, **CLICK))
        await until(lambda: bool(servicer.seen))
        task.cancel()
        await sam.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_closing_fails_threads_that_wait(scripted: Any) -> None:
    servicer, url = scripted
    servicer.open.clear()
    sam = SlimSam(url)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(sam.predict, EMBEDDING, **CLICK) for _ in range(2)]
        asyncio.run(until(lambda: len(servicer.seen) == 2))
        sam.close()
        for future in waiting:
            assert isinstance(future.exception(60), RequestCancelledError)


def test_images_are_read_beside_the_loop(scripted: Any) -> None:
    _, url = scripted
    readers: set[threading.Thread] = set()

    class File(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            readers.add(threading.current_thread())
            return super().read(size)

    encoded = io.BytesIO()
    Image.fromarray(IMAGE).save(encoded, "PNG")

    async def main() -> None:
        async with AsyncSlimSam(url) as sam:
            await sam.embed(File(encoded.getvalue()))

    asyncio.run(main())
    assert readers and threading.main_thread() not in readers


def test_threads_and_tasks_share_one_connection(scripted: Any) -> None:
    servicer, url = scripted
    with SlimSam(url) as blocking, concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: blocking.predict(EMBEDDING, **CLICK), range(48)))
    assert len(servicer.seen) == 48
    assert len({seen.peer for seen in servicer.seen}) == 1

    async def main() -> None:
        async with AsyncSlimSam(url) as sam:
            await asyncio.gather(*(sam.predict(EMBEDDING, **CLICK) for _ in range(48)))

    asyncio.run(main())
    assert len({seen.peer for seen in servicer.seen[48:]}) == 1
