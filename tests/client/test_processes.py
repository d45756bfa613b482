"""Forked processes, pickles and copies: a client goes along by its settings, or says why not."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import forking
import grpc
import numpy as np
import pytest

from slimsam_client import AsyncSlimSam, SettingsError, SlimSam, Tls
from slimsam_client.testing import FakeServer
from slimsam_client.transport.shared_memory.layout import Place
from slimsam_client.transport.shared_memory.pool import RegionPool

IMAGE = np.zeros((9, 9, 3), np.uint8)
FORKS_UNDER_WAY = tuple(map(int, grpc.__version__.split(".")[:2])) >= (1, 81)
"""Whether gRPC outlives a fork while requests are under way; 1.67 does not."""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks nothing")


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def forked(fake: FakeServer, before: str, *uses: str) -> list[str]:
    if before == "in flight":
        fake.delay("slimsam_encoder", 0)
        fake.delay("slimsam_encoder", 1.5)
    done = subprocess.run(
        [sys.executable, forking.__file__, fake.url, before, *uses],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.stdout.splitlines()


@needs_fork
@pytest.mark.parametrize("before", ["nothing", "used", "in flight", "locked"])
def test_forked_processes_have_connections_of_their_own(before: str, fake: FakeServer) -> None:
    if before == "in flight" and not FORKS_UNDER_WAY:
        pytest.skip("this gRPC does not take that")
    goes_on = ["and the parent goes on"] if before != "locked" else []
    said = forked(fake, before, "the same", "new", "new asyncio")
    assert said == ["answered", "answered", "answered", *goes_on]


@needs_fork
def test_a_client_that_was_closed_before_the_fork_stays_closed(fake: FakeServer) -> None:
    (said,) = forked(fake, "closed", "the same")
    assert said.startswith("RequestCancelledError: ") and "expected an open client" in said


@needs_fork
def test_asyncio_does_not_outlive_a_fork_but_threads_do(fake: FakeServer) -> None:
    # Of older gRPC, asyncio's thread counts as a request under way.
    threads = ["new"] if FORKS_UNDER_WAY else []
    same, other, *rest = forked(fake, "asyncio", "the same", "new asyncio", *threads)
    for said in (same, other):
        assert said.startswith("SettingsError: ") and "or 'forkserver', or use SlimSam" in said
    if FORKS_UNDER_WAY:
        assert rest == ["answered", "and the parent goes on"]


# Python warns of threads, which other tests have left behind.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="regions are Linux's")
def test_regions_of_the_parent_are_not_the_childs() -> None:
    pool = RegionPool()
    layout = {"image": Place(0, (4,), np.dtype(np.uint8))}

    def take() -> Any:
        exchange = pool.take(layout, {})
        outcome: Any = None
        try:
            while True:
                step = exchange.send(outcome)
                outcome = type("Status", (), {"regions": ()})
                assert step.method.startswith("SystemSharedMemory")
        except StopIteration as end:
            return end.value

    region = take()
    pool.give_back(region)
    pool._lock.acquire()  # as a thread may hold it that the child does not have
    pid = os.fork()
    if pid == 0:
        try:
            own = take()
            os._exit(0 if own.name != region.name and str(os.getpid()) in own.name else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    pool._lock.release()
    assert take() is region


def token() -> dict[str, str]:
    return {"authorization": "Bearer one"}


@pytest.mark.parametrize("kind", [SlimSam, AsyncSlimSam])
@pytest.mark.parametrize("headers", [None, {"x-team": "blue"}, token])
def test_a_pickle_has_the_settings(kind: Any, headers: Any) -> None:
    sam = kind("localhost:1", 7, headers=headers, concurrency=3).with_options(request_id="one")
    for again in (pickle.loads(pickle.dumps(sam)), copy.deepcopy(sam), copy.copy(sam)):
        assert type(again) is kind and again is not sam
        assert (again.url, again.concurrency) == ("localhost:1", 3)
        assert again._options == sam._options
        assert again._connection is not sam._connection


@pytest.mark.parametrize("kind", [SlimSam, AsyncSlimSam])
def test_headers_that_no_pickle_can_hold(kind: Any) -> None:
    sam = kind("localhost:1", headers=lambda: {"authorization": "secret"})
    with pytest.raises(SettingsError, match="SlimSam: headers: expected a function that can be"):
        pickle.dumps(sam)
    assert copy.deepcopy(sam)._options.headers is sam._options.headers


def test_a_pickle_names_files_of_tls_and_does_not_hold_them(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    pickled = pickle.dumps(SlimSam("localhost:1", tls=Tls(file)))
    assert b"CERTIFICATE" not in pickled
    pickle.loads(pickled)
    file.unlink()
    with pytest.raises(SettingsError, match="root_certificates: expected a readable PEM file"):
        pickle.loads(pickled)


def test_a_used_client_goes_to_a_process_that_was_not_forked(fake: FakeServer) -> None:
    with SlimSam(fake.url, 60) as sam:
        sam.embed(IMAGE)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            assert pool.submit(sam.embed, IMAGE).result(120).original_size == (9, 9)
        sam.embed(IMAGE)
    assert len(fake.requests) == 3
