"""Workers that are killed, a server that restarts and a store that fails.

The result is complete, has each picture once, and is that of a single run. `make test-full-batch`
has 2,000 pictures with two boxes each, and 200 in everything mode, all of them different, and says
how long they took and what failed meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_runs import Workers, bucket, draw_pictures, environment, kill_in_the_middle
from failing_store import failing_store

from slimsam_server import EmbeddedServer

FULL = bool(os.environ.get("SLIMSAM_FULL_BATCH"))
SHARDS = 40
SECONDS = 7200 if FULL else 400
"""After which workers hang, on a machine many times slower."""
EVERYTHING = (
    "--points-per-side", 8, "--pred-iou-thresh", 0.75, "--stability-score-thresh", 0.85
)  # fmt: skip


@pytest.fixture(scope="module")
def server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    """Of its own: it is restarted."""
    with EmbeddedServer(demo_repository) as running:
        yield running


# The encoder is most of the time, and what is kept of one picture serves those of the same content.
@pytest.mark.parametrize(
    ("kind", "count", "distinct"),
    [("boxes", 2000, 2000), ("everything", 200, 200)]
    if FULL
    else [("boxes", 200, 40), ("everything", 20, 4)],
)
def test_each_picture_is_done_once(
    kind: str, count: int, distinct: int, server: EmbeddedServer, moto: int, tmp_path: Path
) -> None:
    detections = draw_pictures(tmp_path / "pictures", count, distinct)
    options = ["--prompts", detections] if kind == "boxes" else EVERYTHING
    if kind == "boxes" and not FULL:
        options = [*options, "--embeddings", tmp_path / "embeddings"]
    output = f"s3://bucket/{kind}"
    arguments = [tmp_path / "pictures", output, *options, "--shards", SHARDS, "--lease", 3]
    with failing_store(moto, share=0.01) as store:
        workers = Workers(arguments, environment(server.grpc_url, store.url), tmp_path)
        began = time.monotonic()
        try:
            killed = [workers.start()]
            others = [workers.start() for _ in range(3)]
            for number in range(2):
                mine = Mine(workers, killed[-1], moto, kind)
                kill_in_the_middle(killed[-1], mine)
                killed.append(workers.start())
                if number == 0:
                    server.stop()
                    server.start()
            statuses = outlasting(server, workers)
            seconds = time.monotonic() - began
            said = {process.pid: workers.said(process) for process in workers.processes}
        finally:
            workers.kill()
        assert statuses == [-9, 0, 0, 0, -9, 0], said
        assert all(process.returncode == 0 for process in others)
        if FULL:
            assert len(store.failed) == 3 and store.passed > 50 * store.failed.total()
            failed = store.failed.total()
            print(f"{kind}: {count} pictures in {seconds:.0f} s")
            print(f"{failed} of the store's {store.passed + failed} calls failed")
            print(f"shards that were taken over: {', '.join(taken_over(moto, kind))}")
    found = read_results(moto, kind)
    assert [answer["image"] for shard in found for answer in shard] == [
        f"{number:04}.jpg" for number in range(count)
    ]
    assert len(found) == min(SHARDS, count)
    annotations = json.loads(content(moto, f"{kind}/annotations.json"))
    summary = json.loads(content(moto, f"{kind}/summary.json"))
    assert summary["images"] == len(annotations["images"]) == count and not summary["failed"]
    assert summary["masks"] == len(annotations["annotations"]) > count
    if kind == "boxes":
        assert summary["masks"] == 2 * count
        assert annotations == single_run(tmp_path, tmp_path / "pictures", options, server)
        return
    # A single run of the different pictures; the others are the same under other names.
    few = tmp_path / "few"
    few.mkdir()
    for number in range(distinct):
        os.link(tmp_path / "pictures" / f"{number:04}.jpg", few / f"{number:04}.jpg")
    expected = single_run(tmp_path, few, options, server)
    for image in annotations["images"]:
        twin = (image["id"] - 1) % distinct + 1
        assert masks_of(annotations, image["id"]) == masks_of(expected, twin)


class Mine:
    """The shards that a worker has a claim on, and that have no result."""

    def __init__(
        self, workers: Workers, process: subprocess.Popen[bytes], port: int, kind: str
    ) -> None:
        self._bucket = bucket(port)
        self._kind = kind
        self._end = f"-{process.pid} ".encode()

    def __call__(self) -> set[str]:
        keys = [entry.key for entry in self._bucket.objects.filter(Prefix=f"{self._kind}/")]
        done = {key.rpartition("/")[2][:6] for key in keys if "/results/" in key}
        return {
            shard
            for key in keys
            if "/claims/" in key
            and (shard := key.rpartition("/")[2][:6]) not in done
            and self._end in self._bucket.Object(key).get()["Body"].read()
        }


def taken_over(port: int, kind: str) -> list[str]:
    """The shards that had a claim which was followed by another."""
    claims = [entry.key for entry in bucket(port).objects.filter(Prefix=f"{kind}/claims/")]
    names = [key.rpartition("/")[2].removesuffix(".free") for key in claims]
    return sorted({name[:6] for name in names if not name.endswith("-0000")})


def content(port: int, key: str) -> bytes:
    found: bytes = bucket(port).Object(key).get()["Body"].read()
    return found


def read_results(port: int, kind: str) -> list[list[dict[str, Any]]]:
    entries = bucket(port).objects.filter(Prefix=f"{kind}/results/")
    return [json.loads(content(port, entry.key)) for entry in entries]


def outlasting(server: EmbeddedServer, workers: Workers) -> list[int]:
    """Wait for workers; give their statuses.

    Triton's Python backend may abort the server under load, with boost's lock_exception
    (triton-inference-server/server#8882). In the full batch, which takes an hour, a server that has
    died is started again, as an engine would do it, and the workers outlast it.
    """
    deadline = time.monotonic() + SECONDS
    while FULL and any(process.poll() is None for process in workers.processes):
        assert time.monotonic() < deadline
        died = server.failure()
        if died is not None:
            print(f"the server is started again: {died}")
            server.stop()
            server.start()
        time.sleep(1)
    return workers.join(SECONDS)


def single_run(
    tmp_path: Path, pictures: Path, options: list[object], server: EmbeddedServer
) -> Any:
    workers = Workers(
        [pictures, tmp_path / "single", *options, "--quiet"],
        environment(server.grpc_url),
        tmp_path,
    )
    began = time.monotonic()
    process = workers.start()
    assert outlasting(server, workers) == [0], workers.said(process)
    print(f"a single run of {pictures.name}: {time.monotonic() - began:.0f} s")
    return json.loads((tmp_path / "single" / "annotations.json").read_bytes())


def masks_of(annotations: dict[str, Any], image: int) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in annotation.items() if name not in ("id", "image_id")}
        for annotation in annotations["annotations"]
        if annotation["image_id"] == image
    ]
