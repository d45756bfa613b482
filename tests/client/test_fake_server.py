"""FakeServer for its users: what it answers, and what it does for tests."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from kept_port import kept_port
from numpy.typing import NDArray
from patience import patiently
from tritonclient.grpc import InferenceServerClient

from slimsam_client import (
    AsyncSlimSam,
    GenerateSettings,
    MaskRecord,
    ModelNotReadyError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    SettingsError,
    SlimSam,
)
from slimsam_client.contract import AUTOMATIC, BULK_DECODER, DECODER, ENCODER, ENSEMBLE
from slimsam_client.testing import FakeServer

ROOT = Path(__file__).parents[2]
PIXELS = np.zeros((30, 40, 3), np.uint8)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """It may be stopped, and started again at the same address."""
    with kept_port() as port, FakeServer(port) as server:
        yield server


@pytest.fixture
def sam(fake: FakeServer) -> Iterator[SlimSam]:
    with SlimSam(fake.url) as client:
        yield client


def test_it_is_ready_at_once() -> None:
    begin = time.monotonic()
    with FakeServer() as server, SlimSam(server.url) as sam:
        assert sam.ready()
        assert time.monotonic() - begin < 20


def scene(height: int = 480, width: int = 640) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """A picture, and the masks of what is in it: a square, a disc, and another square."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    shapes = {
        "square": (abs(rows - 130) < 70) & (abs(columns - 150) < 90),
        "disc": (rows - 330) ** 2 + (columns - 460) ** 2 < 100**2,
        "twin": (abs(rows - 130) < 70) & (abs(columns - 450) < 90),
    }
    image = np.full((height, width, 3), 30, np.uint8)
    colors = {"square": (240, 20, 20), "disc": (20, 200, 20), "twin": (240, 20, 20)}
    for name, mask in shapes.items():
        image[mask] = colors[name]
    return image, shapes


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_click_selects_the_shape(sam: SlimSam) -> None:
    image, shapes = scene()
    embedding = sam.embed(image)
    for name, click in (("square", (150, 130)), ("disc", (460, 330)), ("twin", (450, 100))):
        found = sam.predict(embedding, points=[click])
        assert iou(found.masks[1], shapes[name]) > 0.98
        assert found.scores.tolist() == pytest.approx([0.7, 0.95, 0.8]) and found.best == 1
        part, region, box = found.masks
        assert (part <= region).all() and (region <= box).all() and part.sum() < region.sum()
        single = sam.predict(embedding, points=[click], multimask_output=False)
        assert np.array_equal(single.masks[0], region)
        assert single.scores.tolist() == pytest.approx([0.9])
        # In one round trip, and as one prompt of several, it is the same.
        assert np.array_equal(sam.segment(image, points=[click]).masks, found.masks)
        several = sam.predict(embedding, points=[[(5, 5)], [click]])
        assert np.array_equal(several.masks[1], found.masks)
    disc = sam.predict(embedding, points=[(460, 330)])
    assert disc.masks[2].sum() / disc.masks[1].sum() == pytest.approx(4 / np.pi, rel=0.02)


@pytest.mark.parametrize("size", [(20, 30), (1, 7), (90, 64), (1500, 2000)])
def test_images_of_any_size(size: tuple[int, int], sam: SlimSam) -> None:
    image = np.zeros((*size, 3), np.uint8)
    shape = np.zeros(size, np.bool_)
    shape[:, size[1] // 2 :] = True
    image[shape] = 255
    for click, expected in (((0, 0), ~shape), (size[::-1], shape)):  # on the very edges
        assert iou(sam.segment(image, points=[click]).best_masks, expected) > 0.96


def test_points_boxes_and_masks_together(sam: SlimSam) -> None:
    image, shapes = scene()
    embedding = sam.embed(image)

    def best(**prompts: Any) -> NDArray[np.bool_]:
        return np.asarray(sam.predict(embedding, **prompts).best_masks)

    both = best(points=[(150, 130), (460, 330)])
    assert iou(both, shapes["square"] | shapes["disc"]) > 0.98
    assert iou(best(box=(355, 225, 565, 435)), shapes["disc"]) > 0.98
    half = best(points=[(460, 330)], box=(460, 0, 640, 480))
    assert not half[:, :457].any() and iou(half[:, 464:], shapes["disc"][:, 464:]) > 0.97
    cut = best(points=[(150, 130), (200, 150)], labels=[1, 0])
    assert not cut[150, 200] and cut[130, 150]
    removed = (shapes["square"] & ~cut).sum()
    assert removed == pytest.approx(np.pi * (32 * 640 / 1024) ** 2, rel=0.1)
    logits = sam.predict(embedding, points=[(460, 330)]).low_res_logits[1]
    assert np.array_equal(np.unique(logits), [-20, 20])
    refined = best(points=[(150, 130)], mask_input=logits)
    assert np.array_equal(refined, both)
    assert iou(best(mask_input=logits), shapes["disc"]) > 0.98


def test_the_embedding_is_of_its_image(sam: SlimSam) -> None:
    image, shapes = scene()
    mirrored = sam.embed(image[:, ::-1])
    assert (
        iou(sam.predict(mirrored, points=[(180, 330)]).best_masks, shapes["disc"][:, ::-1]) > 0.98
    )
    assert not sam.predict(mirrored, points=[(460, 330)]).best_masks[330, 180]
    again = sam.embed(image[:, ::-1])
    assert np.array_equal(again.image_embeddings, mirrored.image_embeddings)


def as_tuples(records: list[MaskRecord]) -> list[Any]:
    return [(record.rle["counts"], record.bbox, record.point_coords) for record in records]


def test_everything_finds_each_shape(fake: FakeServer, sam: SlimSam) -> None:
    image, shapes = scene()
    settings = GenerateSettings(points_per_side=8)
    records = sam.generate(image, settings, on_server=False)
    expected = [*shapes.values(), ~np.any(list(shapes.values()), axis=0)]
    assert len(records) == len(expected)
    for mask in expected:
        assert max(iou(record.segmentation, mask) for record in records) > 0.98
    assert [request.model for request in fake.requests] == [ENCODER.name] + 4 * [BULK_DECODER.name]
    assert as_tuples(sam.generate(image, settings)) == as_tuples(records)
    assert fake.requests[-1].model == AUTOMATIC.name

    async def generate() -> list[list[MaskRecord]]:
        async with AsyncSlimSam(fake.url) as client:
            return [
                await client.generate(image, settings, on_server=there) for there in (False, True)
            ]

    for found in asyncio.run(generate()):
        assert as_tuples(found) == as_tuples(records)


def test_what_was_sent_is_on_record(fake: FakeServer) -> None:
    with SlimSam(fake.url, headers={"Authorization": "Bearer 1"}) as sam:
        sam.with_options(request_id="the third").segment(PIXELS, points=[(1, 1), (2, 2)])
    encoding, decoding = fake.requests
    assert (encoding.model, decoding.model) == (ENCODER.name, DECODER.name)
    assert encoding.shapes["image"] == (1, 1024, 1024, 3)
    assert decoding.shapes["point_coords"] == (1, 1, 4, 2)
    for request in fake.requests:
        assert request.request_id == "the third"
        assert request.headers["authorization"] == "Bearer 1"
        assert request.status == grpc.StatusCode.OK


def test_failures_come_as_often_as_asked_for(fake: FakeServer, sam: SlimSam) -> None:
    fake.fail(ENCODER.name, grpc.StatusCode.INTERNAL, "out of memory", times=2)
    for _ in range(2):
        with pytest.raises(ServerError, match="out of memory"):
            sam.segment(PIXELS, points=[(1, 1)])
    sam.segment(PIXELS, points=[(1, 1)])
    ended = [request.status.name for request in fake.requests]
    assert ended == ["INTERNAL", "INTERNAL", "OK", "OK"]
    fake.fail(DECODER.name, grpc.StatusCode.INTERNAL)
    embedding = sam.embed(PIXELS)  # by another model
    with pytest.raises(ServerError, match="as the test wants"):
        sam.predict(embedding, points=[(1, 1)])


def test_a_client_recovers_from_unavailable(fake: FakeServer, sam: SlimSam) -> None:
    fake.fail(ENCODER.name, grpc.StatusCode.UNAVAILABLE)
    sam.segment(PIXELS, points=[(1, 1)])
    assert [request.status.name for request in fake.requests] == ["UNAVAILABLE", "OK", "OK"]
    assert fake.requests[0] == fake.requests[1]  # the same request


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_delay_ends_with_the_clients_patience(
    fake: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    fake.delay(ENCODER.name, 0.3)
    fake.delay(ENCODER.name, 60, times=2)
    with SlimSam(fake.url, timeout=60) as sam:
        begin = time.monotonic()
        sam.segment(PIXELS, points=[(1, 1)])
        assert 0.3 <= time.monotonic() - begin < 60
        while len(fake.requests) < 3:  # on a busy machine it may end before it is sent
            with pytest.raises(RequestTimeoutError):
                sam.with_options(timeout=2).segment(PIXELS, points=[(1, 1)])
        until(lambda: fake.requests[2].status == grpc.StatusCode.CANCELLED)

    async def cancel() -> None:
        async with AsyncSlimSam(fake.url) as client:
            task = asyncio.create_task(client.segment(PIXELS, points=[(1, 1)]))
            await asyncio.to_thread(until, lambda: len(fake.requests) == 4)
            assert fake.requests[3].status is None
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until, lambda: fake.requests[3].status is not None)

    asyncio.run(cancel())
    assert fake.requests[3].status == grpc.StatusCode.CANCELLED
    assert not caplog.records  # a server that is fine has nothing to complain of


def test_cancelling_stops_everything_mode(fake: FakeServer) -> None:
    fine = GenerateSettings(points_per_side=180)  # half a minute's work

    async def cancel() -> None:
        async with AsyncSlimSam(fake.url) as client:
            task = asyncio.create_task(client.generate(scene()[0], fine, on_server=True))
            await asyncio.to_thread(until, lambda: len(fake.requests) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until, lambda: fake.requests[0].status is not None)

    asyncio.run(cancel())
    assert fake.requests[0].status == grpc.StatusCode.CANCELLED


def test_models_that_are_not_ready(fake: FakeServer, sam: SlimSam) -> None:
    assert sam.ready()
    fake.unready.add(AUTOMATIC.name)
    assert sam.ready()
    sam.generate(PIXELS, GenerateSettings(points_per_side=2))
    assert [request.model for request in fake.requests] == [ENCODER.name, BULK_DECODER.name]
    fake.unready.add(DECODER.name)
    assert not sam.ready()
    with InferenceServerClient(fake.url) as plain:
        assert plain.is_server_live() and not plain.is_server_ready()

    def segment(seconds: float) -> None:
        sam.with_options(timeout=seconds).segment(PIXELS, points=[(1, 1)])

    with pytest.raises(ModelNotReadyError, match=DECODER.name):
        patiently(segment)
    fake.unready.clear()
    with InferenceServerClient(fake.url) as plain:
        assert plain.is_server_ready()
    sam.segment(PIXELS, points=[(1, 1)])


def test_a_restart_at_the_same_address(fake: FakeServer) -> None:
    url = fake.url
    with SlimSam(url, timeout=60) as sam:

        def segment(seconds: float) -> None:
            sam.with_options(timeout=seconds).segment(PIXELS, points=[(1, 1)])

        segment(60)
        fake.stop()
        fake.stop()
        assert not sam.ready()
        with pytest.raises(ServerUnavailableError):
            patiently(segment)
        fake.start()
        assert fake.url == url
        sam.wait_until_ready(60)
        sam.segment(PIXELS, points=[(1, 1)])
    assert len(fake.requests) == 4


def test_what_it_refuses(fake: FakeServer) -> None:
    with pytest.raises(SettingsError, match="expected one of slimsam_encoder, .*got 'sam'"):
        fake.fail("sam", grpc.StatusCode.INTERNAL)
    for status in ("INTERNAL", 13, None, grpc.StatusCode.OK):
        with pytest.raises(SettingsError, match="status: expected a grpc.StatusCode but OK"):
            fake.fail(ENSEMBLE.name, status)
    with pytest.raises(SettingsError, match="not running"):
        fake.start()
    port = int(fake.url.split(":")[1])
    with pytest.raises(SettingsError, match=f"expected a free one, got {port}"):
        FakeServer(port).start()


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "testing.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "test_service.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [*command, "test_service.py"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert f"{code.count('def test_')} passed" in done.stdout
