"""Batches in tests: pictures with detections, a store, and workers that may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def draw_pictures(folder: Path, count: int, distinct: int) -> Path:
    """Draw scenes of two sizes, and two boxes in each; give the detections, in COCO's format.

    Args:
        folder: folder of the pictures, 0000.jpg and so on.
        count: how many.
        distinct: after so many they come again, under other names and with other boxes.
    """
    from slimsam_build.demo.scenes import draw_scene

    folder.mkdir()
    images, annotations = [], []
    for number in range(count):
        scene = draw_scene(number % distinct, 256)
        rows = 256 - 32 * (number % distinct % 2)
        name = f"{number:04}.jpg"
        if number < distinct:
            Image.fromarray(scene.image[:rows]).save(folder / name)
        else:
            os.link(folder / f"{number % distinct:04}.jpg", folder / name)
        images.append({"id": number + 7, "file_name": name})
        dice = np.random.default_rng(number)
        for category in (3, 5):
            x, y = (int(value) for value in dice.integers(0, 120, 2))
            width, height = (int(value) for value in dice.integers(40, 100, 2))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 7,
                    "category_id": category,
                    "bbox": [x, y, width, height],
                }
            )
    detections = folder.with_suffix(".json")
    categories = [{"id": 3, "name": "disk"}, {"id": 5, "name": "bar"}]
    detections.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return detections


def wait_for(url: str, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None and time.monotonic() < deadline
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return
        except OSError:
            time.sleep(0.1)


def make_bucket(port: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
    urllib.request.urlopen(request, timeout=60).close()


def environment(url: str, store: str | None = None, **more: str) -> dict[str, str]:
    """What a worker is started with."""
    found = {**os.environ, **ENVIRONMENT, "SLIMSAM_URL": url, **more}
    if store is not None:
        found["AWS_ENDPOINT_URL"] = store
    return found


def bucket(port: int) -> Any:
    """A client of the store's bucket, which is not the one that is tested."""
    import boto3

    return boto3.resource(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id="tests", aws_secret_access_key="tests",
    ).Bucket("bucket")  # fmt: skip


class Workers:
    """Processes of `slimsam batch` with the same arguments.

    Args:
        arguments: arguments of the command.
        environment: environment of the processes.
        logs: a folder for what they say.
    """

    def __init__(self, arguments: list[object], environment: dict[str, str], logs: Path) -> None:
        self._line = [str(Path(sys.executable).parent / "slimsam"), "batch", *map(str, arguments)]
        self._environment = environment
        self._logs = logs
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start one more."""
        with (self._logs / f"worker-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                self._line, env={**self._environment, **environment}, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def said(self, process: subprocess.Popen[bytes]) -> str:
        """Give what one has said."""
        number = self.processes.index(process)
        return (self._logs / f"worker-{number}.log").read_text()

    def join(self, seconds: float = 400) -> list[int]:
        """Wait for all that live; give the statuses."""
        deadline = time.monotonic() + seconds
        return [process.wait(deadline - time.monotonic()) for process in self.processes]

    def kill(self) -> None:
        """End all that live."""
        for process in self.processes:
            process.kill()
            process.wait()


def kill_in_the_middle(process: subprocess.Popen[bytes], claims: Callable[[], set[str]]) -> str:
    """Kill a worker with -9 while it has a claim without a result; give its shard.

    Args:
        process: the worker.
        claims: gives the shards that this worker has a claim on and that have no result.
    """
    deadline = time.monotonic() + 300
    while not claims():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return min(claims(), default="")
