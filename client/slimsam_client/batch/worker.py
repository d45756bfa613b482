"""A worker: it takes one shard after the other until none is left."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.batch.answer import Answer
from slimsam_client.batch.claims import Claim, Claims
from slimsam_client.batch.compute import Computing, other_checkpoint
from slimsam_client.batch.mask_files import write_masks
from slimsam_client.batch.patience import outlast
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.plan import Plan, result_key, shard_name
from slimsam_client.batch.reading import check_machine
from slimsam_client.batch.shard_file import encode_answers
from slimsam_client.batch.store import Store
from slimsam_client.calls import AskDigest, Operation

SECONDS_BETWEEN_LISTINGS: Final = 5.0
"""A worker that finds shards to take lists what the others did no more often."""


@dataclass(frozen=True)
class ShardDone:
    """What a worker has done of a shard.

    Attributes:
        shard: the shard.
        images: its pictures.
        failed: those of them that have no masks but a reason.
        masks: the masks.
        seconds: how long it took.
        kept: False if another worker was first, so its result is the batch's.
    """

    shard: int
    images: int
    failed: int
    masks: int
    seconds: float
    kept: bool


Report = Callable[["Worker", ShardDone | None], None]
"""It is called after each shard, and, with None, after each look at what others did."""


class Worker:
    """Works on the shards of a batch, beside any number of others.

    Args:
        store: where the batch lies.
        plan: what there is to do.
        computing: how pictures are computed.
        name: of this worker, for people who look.
        concurrency: pictures under way at once.
        report: is told what was done.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        computing: Computing,
        name: str,
        concurrency: int,
        report: Report = lambda worker, done: None,
    ) -> None:
        self.plan = plan
        self.name = name
        self.finished: set[int] = set()
        self.images_of_shard = 0
        self._store = store
        self._computing = computing
        self._concurrency = concurrency
        self._report = report
        self._claims = Claims(store, name, plan.lease)
        self._looked = float("-inf")
        # Of its own: a thread that waits for a picture must not keep the sign of life waiting.
        self._beating = ThreadPoolExecutor(1, "slimsam-beat")

    async def run(self, wait: bool = True) -> None:
        """Work until all shards have a result.

        Args:
            wait: whether to wait, too, for shards that others work on: one of them might die.

        Raises:
            SlimSamError: nothing can go on. What was finished until then is kept.
        """
        await self._look()
        if len(self.finished) < self.plan.shards:
            await self._check_checkpoint()
        order = self._order()
        while True:
            if len(self.finished) == self.plan.shards:
                return
            claim = await self._take(order)
            if claim is not None:
                await self.work_on(claim)
                if time.monotonic() - self._looked > SECONDS_BETWEEN_LISTINGS:
                    await self._look()
                continue
            if not wait and len(self.finished) < self.plan.shards:
                await self._look()
                return
            await asyncio.sleep(min(self._claims.seconds_between_beats, 5) * random.uniform(0.5, 1))
            await self._look()

    async def claim(self, shard: int) -> Claim | None:
        """Claim a shard that has no result and that no living worker has."""
        await self._look()
        if shard in self.finished:
            return None
        return await self._taken(shard)

    async def work_on(self, claim: Claim) -> ShardDone | None:
        """Compute a shard, and write its result; None if the claim was lost meanwhile."""
        work = asyncio.create_task(self._shard(claim.shard))
        try:
            while True:
                seconds = self._claims.seconds_between_beats
                await asyncio.wait([work], timeout=seconds)
                if work.done():
                    done = work.result()
                    break
                beating = asyncio.get_running_loop().run_in_executor(
                    self._beating, self._claims.beat, claim
                )
                if not await beating:
                    return None
        except BaseException:
            await _ended(work)
            await asyncio.to_thread(self._claims.give_up, claim)
            raise
        finally:
            await _ended(work)
        self.finished.add(claim.shard)
        self.images_of_shard = 0
        self._report(self, done)
        return done

    async def _shard(self, shard: int) -> ShardDone:
        start = time.monotonic()
        pictures = await asyncio.to_thread(self.plan.pictures, self._store, shard)
        answers = await self._answers(pictures)
        if all(answer.error is not None for answer in answers):
            reason = str(answers[0].error)
            await check_machine(self.plan, self._store, shard, pictures, reason)
        if self.plan.task.format == "png":
            await asyncio.to_thread(write_masks, self._store, answers)
        await self._check_checkpoint()
        content = await asyncio.to_thread(encode_answers, answers, self.plan.task)
        key = result_key(self.plan.task, shard)
        kept = await asyncio.to_thread(self._store.create, key, content)
        return ShardDone(
            shard,
            len(answers),
            sum(answer.error is not None for answer in answers),
            sum(len(answer.masks) for answer in answers),
            time.monotonic() - start,
            kept,
        )

    async def _answers(self, pictures: list[Picture]) -> list[Answer]:
        limit = asyncio.Semaphore(self._concurrency)
        self.images_of_shard = 0

        async def limited(picture: Picture) -> Answer:
            async with limit:
                answer = await self._computing.answer(picture, self._store)
            self.images_of_shard += 1
            self._report(self, None)
            return answer

        answers: list[Answer] = await together([limited(picture) for picture in pictures])
        return answers

    async def _check_checkpoint(self) -> None:
        """Raise if the server has another checkpoint than when the batch was begun."""
        sam = self._computing.sam
        served = await outlast(sam, lambda: served_digest(sam), self._computing.patience)
        if served is not None and self.plan.digest is not None and served != self.plan.digest:
            raise other_checkpoint(self.plan.digest, served)

    async def _take(self, order: list[int]) -> Claim | None:
        for shard in order:
            if shard not in self.finished:
                claim = await self._taken(shard)
                if claim is not None:
                    return claim
        return None

    async def _taken(self, shard: int) -> Claim | None:
        """Claim a shard; whoever is cancelled meanwhile gives up what the thread still gets."""
        # No task: at the end of a program all tasks are cancelled, and a future of a thread is not.
        taking = asyncio.get_running_loop().run_in_executor(None, self._claims.take, shard)
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            (claim,) = await asyncio.gather(taking, return_exceptions=True)
            if isinstance(claim, Claim):
                await asyncio.to_thread(self._claims.give_up, claim)
            raise

    async def _look(self) -> None:
        """List what is finished, and what is claimed."""
        results = await asyncio.to_thread(self._store.versions, "results")
        names = {shard_name(shard): shard for shard in range(self.plan.shards)}
        for key in results:
            name = key.rpartition("/")[2].partition(".")[0]
            if key == result_key(self.plan.task, names.get(name, -1)):
                self.finished.add(names[name])
        await asyncio.to_thread(self._claims.look)
        self._looked = time.monotonic()
        self._report(self, None)

    def _order(self) -> list[int]:
        """All shards, from one that depends on the worker's name: so workers seldom collide."""
        start = random.Random(self.name).randrange(self.plan.shards)
        return [*range(start, self.plan.shards), *range(start)]


async def served_digest(sam: AsyncSlimSam) -> str | None:
    """Ask which checkpoint is served; None where the server does not say.

    Raises:
        SlimSamError: the server is away, or failed.
    """

    def ask() -> Operation[str | None]:
        digest: str | None = yield AskDigest()
        return digest

    return await sam._run(ask())


async def together(work: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run all; after the first error end the others before raising it."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _ended(work: asyncio.Task[Any]) -> None:
    if not work.done():
        work.cancel()
    await asyncio.gather(work, return_exceptions=True)
