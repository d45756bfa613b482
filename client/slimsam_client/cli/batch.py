"""`slimsam batch`: many pictures in shards, by any number of workers."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.batch.begin import LEASE, begin
from slimsam_client.batch.compute import Computing
from slimsam_client.batch.detections import BESIDE
from slimsam_client.batch.embeddings import KeptEmbeddings
from slimsam_client.batch.finish import finish
from slimsam_client.batch.pace import Pace
from slimsam_client.batch.patience import SECONDS
from slimsam_client.batch.pictures import Columns
from slimsam_client.batch.plan import Format, Plan, Task, read_plan
from slimsam_client.batch.store import Store, open_store
from slimsam_client.batch.worker import ShardDone, Worker, served_digest
from slimsam_client.cli.messages import complain, printable
from slimsam_client.cli.options import (
    add_connection,
    add_json,
    add_settings,
    add_where,
    connect,
    count,
    seconds,
    settings_of,
)
from slimsam_client.cli.progress import shown_progress
from slimsam_client.cli.status import FAILED, INTERRUPTED, OK, UsageError
from slimsam_client.errors import (
    ModelNotReadyError,
    RequestTimeoutError,
    ServerBusyError,
    ServerUnavailableError,
)
from slimsam_client.everything import Progress

CONCURRENCY = 4
INDEXES = {"JOB_COMPLETION_INDEX": "job", "SLURM_ARRAY_TASK_ID": "task"}
"""Engines that start workers give each its number by one of these variables."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "source",
        metavar="IN",
        help="a folder of pictures, a .txt with a path in each line, a .tar of a webdataset, or "
        "Parquet; or 'FOLDER/*.tar' for several; paths, s3:// or what fsspec reads",
    )
    parser.add_argument(
        "output", metavar="OUT", help="a folder, or s3://BUCKET/PREFIX, that is the batch's own"
    )
    parser.add_argument(
        "--format",
        choices=get_args(Format),
        default="coco",
        help="what is written: annotations.json, results/*.parquet with a row for each picture, or "
        "masks/*/*.png; default: %(default)s",
    )
    parser.add_argument(
        "--prompts",
        metavar="DETECTIONS",
        help="segment these in place of everything: a .json of COCO's annotations or results, a "
        f".parquet, a folder of YOLO's labels, or {BESIDE!r} for columns of IN",
    )
    parser.add_argument(
        "--multimask",
        action="store_true",
        help="keep the best of three masks for each prompt, as clicks need it; a box needs one",
    )
    parser.add_argument(
        "--embeddings",
        metavar="PLACE",
        help="keep the pictures' embeddings there, 2 MiB each, and use those that are there: a "
        "folder or s3://; with --prompts",
    )
    parser.add_argument("--image-column", default="image", metavar="NAME", help="of Parquet in IN")
    parser.add_argument("--name-column", metavar="NAME", help="of Parquet in IN; default: a number")
    add_json(parser, "how many pictures and masks there are, and what failed,")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="say nothing while the work goes on"
    )
    add_where(parser)
    workers = parser.add_argument_group("workers")
    workers.add_argument(
        "--shards",
        type=count,
        metavar="N",
        help="cut the batch into so many parts; default: one for each 100 pictures",
    )
    workers.add_argument(
        "--lease",
        type=seconds,
        default=LEASE,
        metavar="S",
        help="seconds without a sign after which a worker has lost its shard; default: %(default)g",
    )
    workers.add_argument(
        "--concurrency",
        type=count,
        default=CONCURRENCY,
        metavar="N",
        help="pictures that this worker has under way at once; default: %(default)s",
    )
    workers.add_argument(
        "--patience",
        type=seconds,
        default=SECONDS,
        metavar="S",
        help="seconds for which the server may be away; default: %(default)g",
    )
    workers.add_argument(
        "--lenient",
        action="store_true",
        help="exit with 0 if pictures failed, too, once all others are done: for engines that "
        "start a failed worker again",
    )
    workers.add_argument(
        "--plan", action="store_true", help="cut the batch into shards, and compute nothing"
    )
    workers.add_argument(
        "--no-wait",
        action="store_false",
        dest="wait",
        help="end when others work on what is left; the default is to take over from who dies",
    )
    add_settings(parser)
    add_connection(parser, timeout=300)


def run(options: argparse.Namespace) -> int:
    """Work on a batch until it is complete, and say what came of it."""
    if options.embeddings is not None and options.prompts is None:
        raise UsageError(
            "expected --prompts with --embeddings, got everything mode, which keeps none"
        )
    task = Task(
        options.source,
        options.prompts,
        options.format,
        settings_of(options),
        options.multimask,
    )
    store = open_store(options.output)
    try:
        return asyncio.run(_run(options, task, store))
    except asyncio.CancelledError:  # SIGTERM, with which Kubernetes and Slurm end a worker
        complain("ended; others go on, and so does the same command")
        return INTERRUPTED


async def _run(options: argparse.Namespace, task: Task, store: Store) -> int:
    loop = asyncio.get_running_loop()
    working = asyncio.current_task()
    assert working is not None
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, working.cancel)
    loop.set_default_executor(ThreadPoolExecutor(options.concurrency + 4, "slimsam"))
    async with connect(options, AsyncSlimSam) as sam:
        plan = await _begin(options, task, store, sam)
        if options.plan:
            _say(options, f"{plan.images} images in {plan.shards} shards", {"shards": plan.shards})
            return OK
        kept = None
        if options.embeddings is not None:
            if plan.digest is None:
                raise UsageError(
                    "expected a server that says which checkpoint it has, for --embeddings, got "
                    "one without slimsam_info"
                )
            kept = KeptEmbeddings(open_store(options.embeddings), plan.digest)
        computing = Computing(
            sam, task, plan.digest, options.on_server, options.timeout, kept, options.patience
        )
        reporting = _Reporting(plan, options.quiet)
        with shown_progress("images", options.quiet) as progress:
            reporting.progress = progress
            worker = Worker(
                store, plan, computing, worker_name(os.environ), options.concurrency, reporting
            )
            await worker.run(options.wait)
        left = plan.shards - len(worker.finished)
        if left:
            _say(options, f"{left} shards are with other workers", {"left": left})
            return OK
        summary = await asyncio.to_thread(finish, store, plan)
    return _ended(options, summary)


async def _begin(options: argparse.Namespace, task: Task, store: Store, sam: AsyncSlimSam) -> Plan:
    """The plan. For a new batch the server must be there; in a later one it may come back."""
    plan = await asyncio.to_thread(read_plan, store, task)
    if plan is not None:
        return plan
    try:
        digest = await served_digest(sam)
    except (
        ServerUnavailableError,
        ModelNotReadyError,
        ServerBusyError,
        RequestTimeoutError,
    ):  # the server went away after another worker had made the plan
        plan = await asyncio.to_thread(read_plan, store, task)
        if plan is None:
            raise
        return plan
    return await asyncio.to_thread(
        lambda: begin(
            store,
            task,
            digest,
            columns=Columns(options.image_column, options.name_column),
            shards=options.shards,
            lease=options.lease,
            leave_out=options.output,
        )
    )


class _Reporting:
    """Tells people how the batch goes on: a bar on a terminal, lines where a log is kept."""

    def __init__(self, plan: Plan, quiet: bool) -> None:
        self.progress: Progress = lambda done, total: None
        self._plan = plan
        self._pace = Pace(plan.images)
        self._lines = not quiet and not sys.stderr.isatty()

    def __call__(self, worker: Worker, done: ShardDone | None) -> None:
        finished = sum(map(self._plan.size, worker.finished)) + worker.images_of_shard
        self.progress(finished, self._plan.images)
        if not worker.images_of_shard:
            self._pace.note(finished)
        if done is not None and self._lines:
            failed = f", {done.failed} failed" if done.failed else ""
            late = "" if done.kept else "; another worker was first"
            print(
                f"shard {done.shard}: {done.images} images{failed}, {done.masks} masks, "
                f"{done.seconds:.1f} s{late}; {self._pace}",
                file=sys.stderr,
                flush=True,
            )


def worker_name(environment: Mapping[str, str]) -> str:
    """Name this worker by what its engine calls it, its machine and its process."""
    given = [
        f"{name}-{environment[variable]}"
        for variable, name in INDEXES.items()
        if environment.get(variable)
    ]
    return "@".join([*given, f"{socket.gethostname()}-{os.getpid()}"])


def _ended(options: argparse.Namespace, summary: dict[str, Any]) -> int:
    failed = summary["failed"]
    done = summary["images"] - len(failed)
    _say(
        options,
        f"{done} images, {summary['masks']} masks, {len(failed)} failed; wrote "
        f"{printable(options.output)}",
        summary,
    )
    for image, error in failed.items():
        complain(f"failed: {image}: {error}")
    return FAILED if failed and not options.lenient else OK


def _say(options: argparse.Namespace, text: str, content: Mapping[str, Any]) -> None:
    print(json.dumps(content) if options.json else text)
