"""A store in Go, which is none of the client's makers': `make test-seaweedfs`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import s3fs
from batch_runs import Workers, draw_pictures, environment, make_bucket, wait_for
from failing_store import failing_store

from slimsam_client.batch.claims import Claim, Claims
from slimsam_client.batch.object_store import ObjectStore
from slimsam_client.testing import FakeServer
from slimsam_server.ports import hold_free_port

WEED = Path(sys.executable).parent / "weed"
pytestmark = [
    pytest.mark.seaweedfs,
    pytest.mark.skipif(not WEED.exists(), reason="SeaweedFS is not here: make test-seaweedfs"),
]


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A port at which SeaweedFS speaks S3, with the bucket `bucket`."""
    folder = tmp_path_factory.mktemp("weed")
    names = (
        "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
        "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port.iceberg", "s3.port.lance",
    )  # fmt: skip
    held = [hold_free_port() for _ in names]
    ports = {name: each.getsockname()[1] for name, each in zip(names, held, strict=True)}
    line = [
        str(WEED), "server", "-s3", "-s3.iam=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-dir={folder}", "-volume.max=8", "-master.volumeSizeLimitMB=64",
        "-master.telemetry=false", *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(f"http://127.0.0.1:{ports['s3.port']}/healthz", process)
        make_bucket(ports["s3.port"])
        yield ports["s3.port"]
    finally:
        process.kill()
        process.wait()
        for each in held:
            each.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(weed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of the bucket, with what reaches it in the environment."""
    for name, value in environment("", f"http://127.0.0.1:{weed}").items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return f"s3://bucket/{tmp_path.name}"


def test_one_of_many_creates_a_file(place: str) -> None:
    store = ObjectStore(place)
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            gate = threading.Barrier(8)

            def create(name: int, number: int = number, gate: threading.Barrier = gate) -> bool:
                gate.wait(60)
                return store.create(f"folder/{number}", b"%d" % name)

            created = list(pool.map(create, range(8)))
            assert created.count(True) == 1
            assert store.read(f"folder/{number}") == b"%d" % created.index(True)


def test_a_listing_of_many_pages(place: str) -> None:
    store = ObjectStore(place)
    names = [f"claims/{number:06}-0000" for number in range(10_050)]
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda name: store.create(name, b"worker"), names))
    listed = store.versions("claims")
    assert sorted(listed) == names
    store.replace(names[-1], b"worker 1")
    again = store.versions("claims")
    assert {name for name in names if listed[name] != again[name]} == {names[-1]}


def test_files_in_parts(place: str, tmp_path: Path) -> None:
    """Of more than 100 MB, which are sent in parts, and are there when the last one is."""
    store = ObjectStore(place)
    content = bytes(range(256)) * (101 * 2**12)
    assert store.create("results/0", content)
    assert store.read("results/0") == content
    assert not store.create("results/0", content[:-1] + b"!")
    assert store.read("results/0") == content
    with store.writing("annotations.json") as file:
        file.write(content)
        assert "annotations.json" not in store.versions("")
    assert store.read("annotations.json") == content


def test_a_store_that_fails_often(weed: int, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the requests; who claims a shard knows it, whatever became of the answer."""
    with failing_store(weed, share=0.2) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()  # what it made for the other address
        store = ObjectStore(f"{place}/claims-of-two")
        workers = [Claims(store, name, 1000) for name in ("one", "other")]
        for shard in range(40):
            with ThreadPoolExecutor(2) as pool:
                taken = list(pool.map(lambda each, shard=shard: each.take(shard), workers))
            assert sorted(taken, key=str) == [Claim(shard, 0), None]
        assert len(store.versions("claims")) == 40
    assert len(proxy.failed) == 3


def test_a_batch_from_one_prefix_to_another(weed: int, place: str, tmp_path: Path) -> None:
    detections = draw_pictures(tmp_path / "pictures", 24, 24)
    store = ObjectStore(place)
    for path in (tmp_path / "pictures").iterdir():
        store.create(f"pictures/{path.name}", path.read_bytes())
    with FakeServer() as server, failing_store(weed, share=0.02) as proxy:
        options = ["--prompts", detections, "--shards", 8]
        variables = environment(server.url, proxy.url)
        here = Workers([tmp_path / "pictures", tmp_path / "out", *options], variables, tmp_path)
        assert here.start().wait(300) == 0
        arguments = [f"{place}/pictures", f"{place}/out", *options]
        there = Workers(arguments, variables, tmp_path)
        for _ in range(3):
            there.start()
        assert there.join() == [0, 0, 0], [there.said(process) for process in there.processes]
    found = json.loads(store.read("out/annotations.json"))
    assert found == json.loads((tmp_path / "out" / "annotations.json").read_bytes())
    assert len(found["images"]) == 24
