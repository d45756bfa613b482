"""A stream of prompts of which only the newest answer matters."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import numpy as np
import pytest

from slimsam_client import AsyncSlimSam, InvalidRequestError, UploadedImage
from slimsam_client.contract import CLICK
from slimsam_client.newest import NewestPrompts
from slimsam_client.testing import FakeServer, servicer


class Decoder:
    """Answers a prompt when it is told to, and notes which ones it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.done: dict[int, asyncio.Future[Any]] = {}

    async def predict(self, prompt: int) -> Any:
        self.asked.append(prompt)
        self.done[prompt] = asyncio.get_running_loop().create_future()
        return await self.done[prompt]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_one_is_under_way_and_the_newest_waits() -> None:
    async def main() -> None:
        decoder = Decoder()
        newest = NewestPrompts(decoder.predict)
        calls = []
        for prompt in range(5):
            calls.append(asyncio.ensure_future(newest.predict(prompt)))
            await settle()
        assert decoder.asked == [0]
        decoder.done[0].set_result("first")
        await settle()
        assert decoder.asked == [0, 4]
        decoder.done[4].set_result("last")
        assert await asyncio.gather(*calls) == ["first", None, None, None, "last"]
        later = asyncio.ensure_future(newest.predict(5))
        await settle()
        decoder.done[5].set_result("later")
        assert await later == "later"

    asyncio.run(main())


def test_an_error_is_its_own_prompts() -> None:
    async def main() -> None:
        decoder = Decoder()
        newest = NewestPrompts(decoder.predict)
        calls = [asyncio.ensure_future(newest.predict(prompt)) for prompt in range(2)]
        await settle()
        decoder.done[0].set_exception(ValueError("wrong"))
        await settle()
        decoder.done[1].set_result("well")
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(found[0], ValueError) and found[1] == "well"

    asyncio.run(main())


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("cancelled", [0, 1])
def test_cancelling_a_prompt_lets_the_others_go_on(cancelled: int, settled: bool) -> None:
    """That under way, or that which waits; before and after the others have noticed."""

    async def main() -> None:
        decoder = Decoder()
        newest = NewestPrompts(decoder.predict)
        calls = [asyncio.ensure_future(newest.predict(prompt)) for prompt in range(2)]
        await settle()
        calls[cancelled].cancel()
        if settled:
            await settle()
        calls.append(asyncio.ensure_future(newest.predict(2)))
        await settle()
        for _ in range(2):
            for done in decoder.done.values():
                if not done.done():
                    done.set_result("answer")
            await settle()
        found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        assert isinstance(found[cancelled], asyncio.CancelledError)
        assert found[2] == "answer"

    asyncio.run(main())


def test_a_turn_that_comes_while_it_is_cancelled_is_passed_on() -> None:
    async def main() -> None:
        decoder = Decoder()
        newest = NewestPrompts(decoder.predict)
        first = asyncio.ensure_future(newest.predict(0))
        await settle()
        waiting = asyncio.ensure_future(newest.predict(1))
        await settle()
        decoder.done[0].set_result("first")
        await first
        waiting.cancel()
        await settle()
        assert waiting.cancelled() and decoder.asked in ([0], [0, 1])
        last = asyncio.ensure_future(newest.predict(2))
        await settle()
        decoder.done[2].set_result("last")
        assert await asyncio.wait_for(last, 60) == "last"

    asyncio.run(main())


def test_on_a_server_what_is_dropped_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    infer = servicer.infer

    def held(*arguments: Any) -> Any:
        go_on.wait(60)
        return infer(*arguments)

    async def main() -> None:
        with FakeServer() as fake:
            async with AsyncSlimSam(fake.url) as sam:
                image = await sam.upload(np.zeros((40, 60, 3), np.uint8))
                assert isinstance(image, UploadedImage)
                newest = sam.newest(image)
                await newest.predict([[1, 1]])  # the contract is checked once
                before = len(fake.requests)
                monkeypatch.setattr(servicer, "infer", held)
                calls = []
                for x in range(20):
                    calls.append(asyncio.ensure_future(newest.predict([[x, 20]], masks="rle")))
                    await settle()
                go_on.set()
                found = await asyncio.gather(*calls)
                assert [index for index, one in enumerate(found) if one is not None] == [0, 19]
                assert len(fake.requests) == before + 2
                fake.fail(CLICK.name, grpc.StatusCode.INVALID_ARGUMENT)
                with pytest.raises(InvalidRequestError):
                    await newest.predict([[1, 1]])
                assert await newest.predict([[1, 1]]) is not None

    asyncio.run(main())
