"""A batch of pictures in shards, worked on by actors of Ray Data.

python examples/ray_batch.py photos results --prompts boxes.json --actors 4

An actor holds one asyncio client, and takes the shards that Ray hands it. What is claimed, written
and taken over is the same as with `slimsam batch IN OUT`, which may work beside it: when Ray is
through, this program does what an actor that died has left, and puts the results together.
Needs `pip install "slimsam-client[batch]" "ray[data]"`.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any, get_args

import ray

from slimsam_client import AsyncSlimSam, GenerateSettings, SlimSamError
from slimsam_client.batch.begin import begin
from slimsam_client.batch.compute import Computing
from slimsam_client.batch.finish import finish
from slimsam_client.batch.plan import Format, Plan, Task, read_plan
from slimsam_client.batch.store import open_store
from slimsam_client.batch.worker import Worker, served_digest


class ShardWorker:
    """An actor: one client, one event loop, any number of shards."""

    def __init__(self, task: Task, output: str, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        store = open_store(output)
        plan = read_plan(store, task)
        assert plan is not None  # it was made before
        self.worker = worker(plan, output, AsyncSlimSam(url, timeout=300))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Work on the shards of these numbers; give how many pictures each had."""
        done = [self.loop.run_until_complete(self.work(int(shard))) for shard in batch["id"]]
        return {"id": batch["id"], "images": done}

    async def work(self, shard: int) -> int:
        """Work on a shard, unless somebody else does."""
        claim = await self.worker.claim(shard)
        done = None if claim is None else await self.worker.work_on(claim)
        return 0 if done is None else done.images


def worker(plan: Plan, output: str, sam: AsyncSlimSam) -> Worker:
    computing = Computing(sam, plan.task, plan.digest, timeout=300)
    return Worker(open_store(output), plan, computing, "ray", concurrency=4)


async def make_plan(task: Task, output: str, url: str, shards: int | None) -> Plan:
    store = open_store(output)
    async with AsyncSlimSam(url) as sam:
        return read_plan(store, task) or begin(
            store, task, await served_digest(sam), shards=shards, leave_out=output
        )


async def do_the_rest(plan: Plan, output: str, url: str) -> None:
    async with AsyncSlimSam(url, timeout=300) as sam:
        await worker(plan, output, sam).run()


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("output", help="where all of Ray's machines can write: s3:// or a share")
    parser.add_argument("--prompts", help="detections, as for `slimsam batch`")
    parser.add_argument("--settings", default="{}", help="GenerateSettings as a JSON object")
    parser.add_argument("--format", choices=get_args(Format), default="coco")
    parser.add_argument("--shards", type=int)
    parser.add_argument("--actors", type=int, default=4)
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC service")
    options = parser.parse_args()

    settings = GenerateSettings.from_json(options.settings)
    task = Task(options.source, options.prompts, options.format, settings)
    plan = asyncio.run(make_plan(task, options.output, options.url, options.shards))
    done = ray.data.range(plan.shards, override_num_blocks=plan.shards).map_batches(
        ShardWorker,
        fn_constructor_args=(task, options.output, options.url),
        batch_size=1,
        concurrency=options.actors,
        num_cpus=0.25,  # an actor mostly waits for the server
    )
    images = sum(row["images"] for row in done.iter_rows())
    asyncio.run(do_the_rest(plan, options.output, options.url))
    summary = finish(open_store(options.output), plan)
    print(
        f"{images} images by Ray, {summary['images']} in all, {summary['masks']} masks, "
        f"{len(summary['failed'])} failed"
    )


if __name__ == "__main__":
    try:
        main()
    except (SlimSamError, OSError) as error:
        sys.exit(f"error: {error}")
