"""How `slimsam batch` waits for its server, and ends while it takes a shard."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import grpc
import pytest

from slimsam_client import AsyncSlimSam
from slimsam_client.batch import patience
from slimsam_client.batch.claims import FREE
from slimsam_client.batch.compute import Computing
from slimsam_client.batch.local_store import LocalStore
from slimsam_client.batch.patience import outlast
from slimsam_client.batch.plan import Plan, Task
from slimsam_client.batch.worker import Worker
from slimsam_client.contract import DECODER, ENCODER
from slimsam_client.errors import ServerError, ServerUnavailableError
from slimsam_client.testing import FakeServer

Run = Callable[..., tuple[int, str, str]]


class Server:
    """A server that comes back after a while, by a clock of its own."""

    def __init__(self, outage: float) -> None:
        self.now = 1000.0
        self._outage = outage

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def wait_until_ready(self, seconds: float) -> None:
        self.now += self._outage


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(outage=400)
    monkeypatch.setattr(patience, "time", found)
    monkeypatch.setattr(patience, "asyncio", SimpleNamespace(sleep=found.sleep))
    return found


def ask_for(server: Server, outcomes: list[Exception]) -> str:
    """Ask a server that has these outcomes before it answers."""

    async def ask() -> str:
        if outcomes:
            raise outcomes.pop(0)
        return "answer"

    return asyncio.run(outlast(cast(AsyncSlimSam, server), ask, seconds=600))


def test_a_server_that_is_away_twice_is_waited_for_twice(server: Server) -> None:
    away, failed = ServerUnavailableError("away"), ServerError("failed")
    assert ask_for(server, [away, away, failed, away, away]) == "answer"


def test_a_server_that_is_away_for_longer_is_not(server: Server) -> None:
    with pytest.raises(ServerUnavailableError):
        ask_for(server, [ServerUnavailableError("away")] * 3)


def test_what_was_answered_is_not_asked_again(batch: Run, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(
        json.dumps([{"image_id": 0, "category_id": 1, "bbox": [1, 1, 20, 20]}])
    )
    with FakeServer() as server:
        server.fail(DECODER.name, grpc.StatusCode.INTERNAL, "out of memory")
        options = ("--prompts", tmp_path / "boxes.json", "--url", server.url)
        assert batch(pictures / "0.png", tmp_path / "out", *options)[0] == 0
        asked = [request.model for request in server.requests]
    assert (asked.count(ENCODER.name), asked.count(DECODER.name)) == (1, 2)


def test_a_shard_that_is_taken_while_the_worker_is_asked_to_end_is_given_up(
    tmp_path: Path,
) -> None:
    taking, go_on = threading.Event(), threading.Event()

    class Slow(LocalStore):
        def create(self, key: str, content: bytes) -> bool:
            if not key.endswith(FREE):
                taking.set()
                assert go_on.wait(60)
            return super().create(key, content)

    async def end() -> None:
        plan = Plan(Task("in", None, "coco"), None, [0, 1], "plan/0", 60, [])
        async with AsyncSlimSam("127.0.0.1:1") as sam:
            worker = Worker(Slow(tmp_path), plan, Computing(sam, plan.task, None), "one", 1)
            claiming = asyncio.create_task(worker.claim(0))
            assert await asyncio.to_thread(taking.wait, 60)
            claiming.cancel()
            await asyncio.wait([claiming], timeout=0.1)
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await claiming

    asyncio.run(end())
    assert {path.name for path in (tmp_path / "claims").iterdir()} == {
        "000000-0000", f"000000-0000{FREE}",
    }  # fmt: skip
