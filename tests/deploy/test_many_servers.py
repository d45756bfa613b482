"""One client and several real servers behind one name, of which one dies and one joins."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from name_server import NameServer, name_server
from serve_script import Serving, serving

from slimsam_build.versions import add_versions, remove_versions
from slimsam_client import Embedding, SlimSam, StaleEmbeddingError
from slimsam_client.contract import AUTOMATIC, CLICK, DECODER
from slimsam_client.transport.channel import RESOLVE_SECONDS
from slimsam_server.ports import free_port

HOSTS = tuple(f"127.0.0.{number}" for number in (11, 12, 13, 14))
CALLS = 300
IMAGE = np.zeros((8, 8, 3), np.uint8)
AGE_SECONDS = 2


def port_of_all() -> int:
    """A port that is free at each of the addresses: a name has several of them, and one port."""
    for _ in range(100):
        with ExitStack() as stack:
            try:
                port = free_port()
                for host in HOSTS:
                    stack.enter_context(socket.socket()).bind((host, port))
                return port
            except OSError:
                continue
    raise AssertionError("no port is free at all addresses")


def small(repository: Path, copied: Path) -> Path:
    """Copy a repository without everything mode, for servers that start sooner."""
    ignored = shutil.ignore_patterns(AUTOMATIC.name)
    shutil.copytree(repository, copied, symlinks=True, ignore=ignored)
    return copied


@pytest.fixture(scope="module")
def fleet(
    demo_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Serving]]:
    """Four servers, of which the last has not joined yet; all start at once."""
    directory = tmp_path_factory.mktemp("fleet")
    repository = small(demo_repository, directory / "models")
    port = port_of_all()
    with ExitStack() as stack:
        servers = {
            host: stack.enter_context(
                serving(
                    directory, repository, f"--grpc-max-connection-age={AGE_SECONDS * 1000}",
                    host=host, port=port, settings={"SLIMSAM_ON_FAILURE": "exit"},
                )
            )
            for host in HOSTS
        }  # fmt: skip
        for server in servers.values():
            server.wait_until_ready()
        yield servers


def clicks_of(server: Serving, model: str = DECODER.name) -> int:
    """How many the server has answered, those of serve.sh's own probes included.

    Triton 2.51 counts what a model in Python refuses as answered, too.
    """
    flags = Path(f"/proc/{server.tritonserver}/cmdline").read_text()
    (port,) = re.findall(r"--metrics-port=(\d+)", flags)
    address = f"http://{server.url.rpartition(':')[0]}:{port}/metrics"
    text = urllib.request.urlopen(address, timeout=60).read().decode()
    pattern = rf'nv_inference_request_success\{{model="{model}",[^}}]*\}} (\d+)'
    return sum(map(int, re.findall(pattern, text)))


def shares(sam: SlimSam, embedding: Embedding, servers: list[Serving]) -> list[float]:
    """Click from several threads; give what each server had of it, as a part of an equal share."""
    before = [clicks_of(server) for server in servers]
    with ThreadPoolExecutor(4) as threads:
        asked = [
            threads.submit(sam.predict, embedding, points=[(4, 4)]) for _ in range(CALLS)
        ]  # fmt: skip
        try:
            for each in asked:
                each.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)  # the others would wait for their timeouts, too
            raise
    after = [clicks_of(server) for server in servers]
    equal = CALLS / len(servers)
    return [(late - early) / equal for early, late in zip(before, after, strict=True)]


def are_equal(found: list[float]) -> bool:
    return all(0.8 < share < 1.2 for share in found)


@contextmanager
def clicking(sam: SlimSam, embedding: Embedding) -> Iterator[list[BaseException]]:
    """Click all the time; what fails is in the list."""
    failed: list[BaseException] = []
    ended = threading.Event()

    def click() -> None:
        while not ended.wait(0.01):
            try:
                sam.predict(embedding, points=[(4, 4)])
            except Exception as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=click) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def names() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


def test_one_dies_and_one_joins(fleet: dict[str, Serving], names: NameServer) -> None:
    first, dying, third, joining = fleet.values()
    names.addresses = list(HOSTS[:3])
    port = first.url.rpartition(":")[2]
    figures: dict[str, list[float]] = {}
    with SlimSam(f"dns://{names.address}/slimsam.vision.svc:{port}", 120) as sam:
        embedding = sam.embed(IMAGE)
        figures["three"] = shares(sam, embedding, [first, dying, third])
        with clicking(sam, embedding) as failed:
            os.kill(dying.tritonserver, signal.SIGKILL)
            names.addresses = [HOSTS[0], HOSTS[2]]
            assert dying.process.wait(120) == 1
        assert failed == []
        figures["two"] = shares(sam, embedding, [first, third])
        with clicking(sam, embedding) as failed:
            names.addresses = [HOSTS[0], HOSTS[2], HOSTS[3]]
            early = clicks_of(joining)
            deadline = time.monotonic() + 120
            # More than the probes of serve.sh ask in so short a time.
            while clicks_of(joining) < early + 30:
                assert time.monotonic() < deadline, names.questions
                time.sleep(0.1)
        assert failed == []
        figures["three again"] = shares(sam, embedding, [first, third, joining])
    print(figures)
    for each in figures.values():
        assert are_equal(each), figures
    assert RESOLVE_SECONDS > AGE_SECONDS  # so that it was the age that had the name looked up


def with_one_away(fleet: dict[str, Serving]) -> list[Serving]:
    """Give the living when one has died: before this test, unless it runs alone."""
    living = [server for server in fleet.values() if server.process.poll() is None]
    if len(living) == len(fleet):
        dying = living.pop(1)
        os.kill(dying.tritonserver, signal.SIGKILL)
        assert dying.process.wait(120) == 1
    return living


def test_a_list_of_addresses_leaves_out_who_is_away(fleet: dict[str, Serving]) -> None:
    living = with_one_away(fleet)
    addresses = ",".join(server.url for server in fleet.values())
    with SlimSam(f"ipv4:{addresses}", 120) as sam:
        found = shares(sam, sam.embed(IMAGE), living)
    assert len(living) == 3 and are_equal(found), found


def of_another_checkpoint(repository: Path, directory: Path) -> Path:
    """Copy a repository, with another digest of the same weights: clients go by the digest."""
    small(repository, directory)
    reports = [*directory.glob("*/1/model.xml.json"), *directory.glob("*/1/openvino.json")]
    digests = {
        json.loads(path.read_text())["checkpoint"]["sha256"]
        for path in reports
        if path.name == "model.xml.json"
    }
    (digest,) = digests
    other = digest[::-1]
    for path in reports:
        path.write_text(path.read_text().replace(digest, other))
    remove_versions(directory)
    add_versions(directory, print)
    return directory


def test_a_roll_out_of_another_checkpoint_under_clicks(
    fleet: dict[str, Serving], names: NameServer, demo_repository: Path, tmp_path: Path
) -> None:
    """Ids are of a checkpoint, and so are embeddings: what the new servers do not have is said."""
    old = with_one_away(fleet)[0]
    host = next(host for host, server in fleet.items() if server.process.poll() is not None)
    port = int(old.url.rpartition(":")[2])
    repository = of_another_checkpoint(demo_repository, tmp_path / "models")
    names.addresses = [old.url.rpartition(":")[0]]
    with (
        SlimSam(f"dns://{names.address}/slimsam.vision.svc:{port}", 120) as sam,
        serving(
            tmp_path, repository, f"--grpc-max-connection-age={AGE_SECONDS * 1000}",
            host=host, port=port,
        ) as new,
    ):  # fmt: skip
        embedding = sam.embed(IMAGE)
        picture = sam.upload(IMAGE)
        former = picture.image_id
        before = sam.predict(picture, points=[(4, 4)])
        new.wait_until_ready()
        with SlimSam(new.url, 120) as direct:
            assert direct.model_info().digest != sam.model_info().digest
        names.addresses.append(host)
        early = clicks_of(new, CLICK.name)
        deadline = time.monotonic() + 120
        # The new one is asked by turns, and does not know the id: the old one answers.
        while clicks_of(new, CLICK.name) < early + 20:
            assert time.monotonic() < deadline
            during = sam.predict(picture, points=[(4, 4)])
            np.testing.assert_array_equal(during.masks, before.masks)
            sam.predict(embedding, points=[(4, 4)])
        names.addresses = [host]
        os.kill(old.tritonserver, signal.SIGKILL)
        assert old.process.wait(120) == 1
        np.testing.assert_array_equal(sam.predict(picture, points=[(4, 4)]).masks, before.masks)
        assert picture.image_id != former
        with pytest.raises(StaleEmbeddingError, match="embed the image again"):
            sam.predict(embedding, points=[(4, 4)])
        sam.predict(sam.embed(IMAGE), points=[(4, 4)])
