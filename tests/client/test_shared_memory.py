"""Shared memory between a client and a real server: the same answers, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from limited_files import limited_files
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, service_pb2 as messages
from tritonclient.utils import InferenceServerException

from slimsam_client import (
    AsyncSlimSam,
    Embedding,
    GenerateSettings,
    Prediction,
    RequestTimeoutError,
    SharedMemoryError,
    SlimSam,
    load_image,
)
from slimsam_client.calls import Call, advance
from slimsam_client.contract import ENCODER
from slimsam_client.operations import predict
from slimsam_client.prompts import encode as prompts
from slimsam_client.testing import FakeServer
from slimsam_client.transport.async_connection import AsyncConnection
from slimsam_client.transport.exchange import Attempt
from slimsam_client.transport.inference import infer
from slimsam_client.transport.options import RequestOptions
from slimsam_client.transport.retries import Breakages, should_retry
from slimsam_client.transport.shared_memory import region as region_module
from slimsam_client.transport.shared_memory.layout import Place
from slimsam_client.transport.shared_memory.pool import RegionPool
from slimsam_client.transport.status import Status, from_status

if TYPE_CHECKING:
    from slimsam_server import EmbeddedServer

Connect = Callable[..., Any]
PICTURE = load_image(Path(__file__).parents[2] / "examples" / "scene.png")[:300, :400]
MANY = [[[30.0 * i, 25.0 * i]] for i in range(12)]
BUSY: list[Any] = [[[1.0, 1.0]] * 16] * 64
"""What keeps the decoder for many prompts busy for seconds: as much as one request may ask."""
TWO: list[Any] = [[[350, 100]], [[200, 200]]]
"""Prompts that wait for it."""
CLIENT = """
import sys, threading, time
import numpy as np
from slimsam_client import Embedding, SlimSam
from slimsam_client.transport.connection import Connection
from tritonclient.grpc import service_pb2 as messages

registered = []
real = Connection._send

def send(self, attempt, *options):
    registers = attempt.method == "SystemSharedMemoryRegister"
    if registers and len(registered) == 2:
        print(*registered, flush=True)
        threading.Event().wait()
    answer = real(self, attempt, *options)
    if registers:
        request = messages.SystemSharedMemoryRegisterRequest.FromString(attempt.body)
        registered.append(request.name)
    return answer

Connection._send = send
embedding = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))
sam = SlimSam(sys.argv[1], 300, shared_memory=True)
sam.predict(embedding, points=[[1, 1]])
threading.Thread(target=sam.predict, args=(embedding, [[[1, 1]] * 16] * 64)).start()
while len(registered) < 2:
    time.sleep(0.01)
sam.predict(embedding, points=[[1, 1]])
"""
"""One request is answered, one is under way, and one is about to begin."""


@pytest.fixture(scope="module")
def server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    """Its port stays the same when it is started anew."""
    from slimsam_server import EmbeddedServer
    from slimsam_server.ports import free_port

    port = free_port()
    with EmbeddedServer(demo_repository, grpc_port=port, allow_shared_memory=True) as server:
        yield server


@pytest.fixture(scope="module")
def plain(server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(server.grpc_url, 300) as sam:
        yield sam


@pytest.fixture(scope="module")
def embedding(plain: SlimSam) -> Embedding:
    return plain.embed(PICTURE)


@pytest.fixture(autouse=True)
def nothing_stays(server: EmbeddedServer) -> Iterator[None]:
    yield
    assert registered(server) == set()
    assert names() == set()
    assert server.failure() is None


def registered(server: EmbeddedServer) -> set[str]:
    """The regions that the server has mapped."""
    with InferenceServerClient(server.grpc_url) as triton:
        return set(triton.get_system_shared_memory_status(as_json=True).get("regions", ()))


def names(pid: int | None = None) -> set[str]:
    """The regions of this process, or of another, that have a name; other tests have some, too."""
    own = f"-{pid or os.getpid()}-"
    return {name for name in os.listdir("/dev/shm") if name.startswith("slimsam-") and own in name}


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def assert_equal(one: Prediction, other: Prediction) -> None:
    np.testing.assert_array_equal(one.low_res_logits, other.low_res_logits)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.masks, other.masks)


def test_answers_are_the_same(
    connect: Connect,
    server: EmbeddedServer,
    plain: SlimSam,
    embedding: Embedding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prompts, "MAX_PROMPTS", 8)  # so that twelve take two requests
    sam = connect(server.grpc_url, 300, shared_memory=True)
    own = sam.embed(PICTURE)
    click = sam.predict(own, points=[[150, 200]])
    refined = sam.predict(own, box=[20, 30, 300, 250], mask_input=click.low_res_logits[click.best])
    many = sam.predict(own, points=MANY, multimask_output=False)
    both = sam.segment(PICTURE, box=[20, 30, 300, 250])
    assert len(registered(server)) == 1
    # Later requests have used the same memory, and changed none of the results.
    np.testing.assert_array_equal(own.image_embeddings, embedding.image_embeddings)
    expected = plain.predict(embedding, points=[[150, 200]])
    assert_equal(click, expected)
    mask = expected.low_res_logits[expected.best]
    assert_equal(refined, plain.predict(embedding, box=[20, 30, 300, 250], mask_input=mask))
    assert_equal(many, plain.predict(embedding, points=MANY, multimask_output=False))
    assert_equal(both, plain.segment(PICTURE, box=[20, 30, 300, 250]))


@pytest.mark.parametrize("on_server", [False, True])
def test_everything(
    on_server: bool, connect: Connect, server: EmbeddedServer, plain: SlimSam
) -> None:
    settings = GenerateSettings(
        points_per_side=4, points_per_batch=6, pred_iou_thresh=0.6, stability_score_thresh=0.6
    )
    sam = connect(server.grpc_url, 300, shared_memory=True)
    records = sam.generate(PICTURE, settings, on_server=on_server)
    expected = plain.generate(PICTURE, settings, on_server=on_server)
    assert records and list(map(astuple, records)) == list(map(astuple, expected))


def test_an_embedding_is_written_once() -> None:
    layout = {"image_embeddings": Place(0, (1, 4), np.dtype(np.float16))}
    region = region_module.Region("name", np.zeros(8, np.uint8))
    slots = region.slots(layout)
    there = slots["image_embeddings"].view
    embeddings = np.ones(4, np.float16)

    def written(array: NDArray[np.float16]) -> bool:
        there[:] = 7
        region.write(slots, {"image_embeddings": array})
        return bool((there == array).all())

    assert written(embeddings) and written(embeddings)  # it may have changed
    embeddings.flags.writeable = False
    assert written(embeddings) and not written(embeddings)
    assert written(embeddings.copy()) and written(embeddings)
    view = np.zeros(8, np.float16)[::2]
    view.flags.writeable = False
    assert written(view) and written(view)


def test_sixteen_threads(server: EmbeddedServer, plain: SlimSam, embedding: Embedding) -> None:
    points = [[[20.0 + 20 * i, 15.0 * i]] for i in range(16)]
    expected = [plain.predict(embedding, points=point) for point in points]
    begin = threading.Barrier(16)
    with SlimSam(server.grpc_url, 300, shared_memory=True) as sam:

        def click(turn: int) -> list[Prediction]:
            begin.wait()
            return [sam.predict(embedding, points=points[(turn + i) % 16]) for i in range(2)]

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(click, range(16)))
        assert 1 < len(registered(server)) <= 16
    for turn, predictions in enumerate(answers):
        for i, prediction in enumerate(predictions):
            assert_equal(prediction, expected[(turn + i) % 16])


def test_sixteen_tasks(server: EmbeddedServer, plain: SlimSam, embedding: Embedding) -> None:
    points = [[[20.0 + 20 * i, 15.0 * i]] for i in range(16)]
    expected = [plain.predict(embedding, points=point) for point in points]

    async def clicks() -> list[Prediction]:
        async with AsyncSlimSam(server.grpc_url, 300, shared_memory=True) as sam:
            answers = await asyncio.gather(
                *(sam.predict(embedding, points=point) for point in points)
            )
            assert 1 < len(registered(server)) <= 16
            return answers

    for one, other in zip(asyncio.run(clicks()), expected, strict=True):
        assert_equal(one, other)


def test_a_request_that_timed_out_keeps_its_memory(
    connect: Connect, server: EmbeddedServer, plain: SlimSam, embedding: Embedding
) -> None:
    expected = plain.predict(embedding, points=TWO)
    sam = connect(server.grpc_url, 300, shared_memory=True)
    began = time.monotonic()
    sam.predict(embedding, points=BUSY, multimask_output=False)
    # So that it passes while the server computes, however much the machine has to do.
    share = max(0.2, (time.monotonic() - began) / 20)
    first = registered(server)
    with pytest.raises(RequestTimeoutError):
        sam.with_options(timeout=share).predict(embedding, points=BUSY, multimask_output=False)
    # This one waits in the server's queue for many prompts while that one is computed and written.
    assert_equal(sam.predict(embedding, points=TWO), expected)
    assert len(registered(server) - first) == 1


def sending(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Give what is set when an inference is sent."""
    real = AsyncConnection._send
    sent = asyncio.Event()

    async def send(self: AsyncConnection, attempt: Attempt, options: RequestOptions) -> bytes:
        if attempt.method == "ModelInfer":
            sent.set()
        return await real(self, attempt, options)

    monkeypatch.setattr(AsyncConnection, "_send", send)
    return sent


def test_a_cancelled_task_keeps_its_memory(
    server: EmbeddedServer,
    plain: SlimSam,
    embedding: Embedding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = plain.predict(embedding, points=TWO)

    async def cancel_and_go_on() -> Prediction:
        async with AsyncSlimSam(server.grpc_url, 300, shared_memory=True) as sam:
            await sam.predict(embedding, points=BUSY, multimask_output=False)
            first = registered(server)
            sent = sending(monkeypatch)
            task = asyncio.create_task(sam.predict(embedding, points=BUSY, multimask_output=False))
            await sent.wait()
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            answer = await sam.predict(embedding, points=TWO)
            assert len(registered(server) - first) == 1
            return answer

    assert_equal(asyncio.run(cancel_and_go_on()), expected)


def test_unregistering_what_is_in_use(
    server: EmbeddedServer, plain: SlimSam, embedding: Embedding
) -> None:
    expected = plain.predict(embedding, points=BUSY, multimask_output=False)
    with SlimSam(server.grpc_url, 300, shared_memory=True) as sam, ThreadPoolExecutor() as pool:
        sam.predict(embedding, points=BUSY, multimask_output=False)
        (name,) = registered(server)
        answer = pool.submit(sam.predict, embedding, points=BUSY, multimask_output=False)
        with InferenceServerClient(server.grpc_url) as triton:
            while not answer.done():
                with suppress(InferenceServerException):  # 2.51: "it is currently in use"
                    triton.unregister_system_shared_memory(name)
                time.sleep(0.01)
        assert_equal(answer.result(), expected)


def test_a_killed_client(server: EmbeddedServer, embedding: Embedding) -> None:
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, server.grpc_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with client:
        try:
            assert client.stdout is not None
            left = set(client.stdout.readline().split())
            assert len(left) == 2
            # That under way loses its name a moment after it is registered.
            wait_until(lambda: len(names(client.pid)) == 1)
        finally:
            client.kill()
    wait_until(lambda: names(client.pid) == set())
    assert registered(server) and registered(server) <= left
    with SlimSam(server.grpc_url, 300, shared_memory=True) as sam:
        sam.predict(embedding, points=TWO)  # behind the dead one's request
    # What the fixture sees now: this client has removed the dead one's regions, too.


def test_a_client_that_is_not_closed(server: EmbeddedServer, embedding: Embedding) -> None:
    forgotten = SlimSam(server.grpc_url, 300, shared_memory=True)
    forgotten.predict(embedding, points=[[1, 1]])
    left = registered(server)
    with SlimSam(server.grpc_url, 300, shared_memory=True) as sam:
        sam.predict(embedding, points=[[1, 1]])
        assert left < registered(server)
    regions = weakref.ref(forgotten._connection.session.regions)
    del forgotten
    wait_until(lambda: regions() is None)  # a thread that has worked for it may be at its end yet
    with SlimSam(server.grpc_url, 300, shared_memory=True) as sam:
        sam.predict(embedding, points=[[1, 1]])
        assert len(registered(server)) == 1 and not left & registered(server)


def test_a_server_that_refuses(
    connect: Connect, demo_server: EmbeddedServer, embedding: Embedding
) -> None:
    sam = connect(demo_server.grpc_url, shared_memory=True)
    with pytest.raises(SharedMemoryError, match="--allow-shared-memory") as error:
        sam.predict(embedding, points=[[1, 1]])
    assert "protocol is restricted" in str(error.value)
    assert demo_server.grpc_url in str(error.value)


def test_a_server_without_shared_memory(connect: Connect) -> None:
    with FakeServer() as fake:
        sam = connect(fake.url, shared_memory=True)
        embedding = Embedding(np.zeros((256, 64, 64), np.float16), (300, 400), (768, 1024))
        with pytest.raises(SharedMemoryError, match="expected a server that allows it"):
            sam.predict(embedding, points=[[1, 1]])


def test_a_server_that_cannot_open_it(
    connect: Connect,
    server: EmbeddedServer,
    embedding: Embedding,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(region_module, "DIRECTORY", tmp_path)  # as with another host's /dev/shm
    sam = connect(server.grpc_url, 300, shared_memory=True)
    with pytest.raises(SharedMemoryError, match="expected a server on this host") as error:
        sam.predict(embedding, points=[[1, 1]])
    assert "Unable to open shared memory region" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_no_room(server: EmbeddedServer, embedding: Embedding) -> None:
    with (
        SlimSam(server.grpc_url, 300, shared_memory=True) as sam,
        limited_files(2**20),
        pytest.raises(SharedMemoryError, match="expected room for 4 MiB"),
    ):
        sam.predict(embedding, points=[[1, 1]])


def test_a_server_that_is_started_anew(
    server: EmbeddedServer, plain: SlimSam, embedding: Embedding
) -> None:
    points = [[[50.0 * i, 10.0]] for i in range(4)]
    expected = [plain.predict(embedding, points=point) for point in points]

    async def clicks(sam: AsyncSlimSam) -> list[Prediction]:
        return await asyncio.gather(*(sam.predict(embedding, points=point) for point in points))

    async def over_a_restart() -> list[Prediction]:
        async with AsyncSlimSam(server.grpc_url, 300, shared_memory=True) as sam:
            await clicks(sam)
            before = registered(server)
            assert 1 <= len(before) <= 4
            server.stop()
            meanwhile = asyncio.create_task(sam.predict(embedding, points=points[0]))
            await asyncio.sleep(0.5)
            server.start()
            assert_equal(await meanwhile, expected[0])
            assert registered(server) == set()
            answers = [await sam.predict(embedding, points=points[1]), *await clicks(sam)]
            assert 1 <= len(registered(server)) <= 4 and not before & registered(server)
            return answers

    for one, other in zip(asyncio.run(over_a_restart()), [expected[1], *expected], strict=True):
        assert_equal(one, other)


def test_a_death_that_is_seen_by_a_region_and_by_a_message_is_one() -> None:
    """The request leaves its region for a message, and the model's process is dead for both."""
    died = Status("INTERNAL", "Stub process 'slimsam_decoder_0_0' is not healthy.")
    embedding = Embedding(np.zeros(ENCODER.outputs[0].dims, np.float16), (8, 8), (1024, 1024))
    call = advance(predict(embedding, [(4, 4)], None, None, None, True), None)
    assert isinstance(call, Call)
    breakages = Breakages()
    exchange = infer(call, "here:1", "id", RegionPool(), breakages)
    rpc: Any = next(exchange)
    methods = []
    while not rpc.retry:
        methods.append(rpc.method)
        if rpc.method == "ModelInfer":
            error = from_status(died, "here:1", True)
            error.__cause__ = died
            rpc = exchange.throw(error)
        else:
            rpc = exchange.send(getattr(messages, f"{rpc.method}Response")())
    exchange.close()
    assert methods[-1] == "ModelInfer" and rpc.breakages is breakages
    breakages.note(died, time.monotonic())
    assert breakages.count == 1 and should_retry(died, breakages.count, answered=True)
