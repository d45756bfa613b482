"""Everything mode inside the server: the same records, errors of its own, and room for others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import io
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

from slimsam_client import AsyncSlimSam, GenerateSettings, MaskRecord, ModelNotReadyError, SlimSam
from slimsam_client.contract import AUTOMATIC, DECODER
from slimsam_server import EmbeddedServer

SETTINGS = GenerateSettings(
    points_per_side=7, points_per_batch=40, pred_iou_thresh=0.75, stability_score_thresh=0.85
)
FINE = GenerateSettings(points_per_side=32, pred_iou_thresh=0.75, stability_score_thresh=0.85)


SMALL = GenerateSettings(points_per_side=4, pred_iou_thresh=0.7, stability_score_thresh=0.8)


def as_tuples(records: list[MaskRecord]) -> list[Any]:
    """Records to compare exactly."""
    return [dataclasses.astuple(record) for record in records]


async def generated_async(
    url: str, image: Any, settings: GenerateSettings, on_server: bool
) -> list[MaskRecord]:
    async with AsyncSlimSam(url, timeout=300) as sam:
        return await sam.generate(image, settings, on_server=on_server)


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        GenerateSettings(
            points_per_side=4,
            pred_iou_thresh=0.7,
            stability_score_thresh=0.8,
            crop_n_layers=1,
            min_mask_region_area=100,
        ),
    ],
    ids=["plain", "crops and regions"],
)
def test_all_three_give_identical_records(
    demo_server: EmbeddedServer,
    sam: SlimSam,
    scenes: list[NDArray[np.uint8]],
    settings: GenerateSettings,
) -> None:
    image = scenes[1]
    expected = as_tuples(sam.generate(image, settings, on_server=False))
    assert len(expected) >= 3
    assert as_tuples(sam.generate(image, settings, on_server=True)) == expected
    for on_server in (False, True):
        records = asyncio.run(generated_async(demo_server.grpc_url, image, settings, on_server))
        assert as_tuples(records) == expected


def test_encoded_images_of_every_kind(
    sam: SlimSam, scenes: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    png = io.BytesIO()
    Image.fromarray(scenes[2]).save(png, "PNG")
    path = tmp_path / "scene.png"
    path.write_bytes(png.getvalue())
    expected = as_tuples(sam.generate(scenes[2], SMALL, on_server=True))
    png.seek(0)
    for source in (path, str(path), png.getvalue(), png, Image.open(path)):
        assert as_tuples(sam.generate(source, SMALL, on_server=True)) == expected


def calls(url: str, model: str) -> int:
    with triton.InferenceServerClient(url) as client:
        count: int = client.get_inference_statistics(model).model_stats[0].inference_count
        return count


def test_one_embedding_for_a_batch_of_points(
    demo_server: EmbeddedServer, sam: SlimSam, scenes: list[NDArray[np.uint8]]
) -> None:
    before = calls(demo_server.grpc_url, DECODER.name)
    seen: list[tuple[int, int]] = []
    settings = GenerateSettings(points_per_side=10)
    sam.generate(scenes[0], settings, lambda *done: seen.append(done), on_server=False)
    assert calls(demo_server.grpc_url, DECODER.name) - before == 2  # 100 points, 64 to a request
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_client_prefers_the_servers_model(
    demo_server: EmbeddedServer, sam: SlimSam, scenes: list[NDArray[np.uint8]]
) -> None:
    before = calls(demo_server.grpc_url, AUTOMATIC.name)
    sam.generate(scenes[0], SMALL)
    assert calls(demo_server.grpc_url, AUTOMATIC.name) == before + 1


def test_a_server_without_the_model(
    demo_repository: Path, scenes: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    repository = shutil.copytree(demo_repository, tmp_path / "repository")
    shutil.rmtree(repository / AUTOMATIC.name)
    with EmbeddedServer(repository) as server, SlimSam(server.grpc_url, timeout=120) as sam:
        assert sam.ready()
        assert as_tuples(sam.generate(scenes[0], SMALL)) == as_tuples(
            sam.generate(scenes[0], SMALL, on_server=False)
        )
        with pytest.raises(ModelNotReadyError, match=AUTOMATIC.name):
            sam.generate(scenes[0], SMALL, on_server=True)


def ask(url: str, **arrays: NDArray[Any]) -> Any:
    inputs = []
    for name, array in arrays.items():
        dtype = "UINT8" if array.dtype == np.uint8 else "BYTES"
        inputs.append(triton.InferInput(name, list(array.shape), dtype))
        inputs[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(url) as client:
        return client.infer(AUTOMATIC.name, inputs, client_timeout=120)


def text(content: str | bytes) -> NDArray[np.object_]:
    return np.array([content], np.object_)


PIXELS = np.zeros((40, 60, 3), np.uint8)
MALFORMED: dict[str, tuple[dict[str, NDArray[Any]], str]] = {
    "neither": ({}, "got neither"),
    "both": ({"image": PIXELS, "image_bytes": text(b"x")}, "got both"),
    "no image": ({"image_bytes": text(b"no image")}, "expected an image that Pillow reads"),
    "cut off": ({"image_bytes": text(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")}, "expected a"),
    "no pixels": ({"image": np.zeros((0, 60, 3), np.uint8)}, "expected an image with pixels"),
    "no JSON": ({"image": PIXELS, "settings": text("{")}, "expected a JSON object"),
    "a list": ({"image": PIXELS, "settings": text("[1]")}, "expected a JSON object, got list"),
    "nested": ({"image": PIXELS, "settings": text("[" * 100_000)}, "expected a JSON object"),
    "long": ({"image": PIXELS, "settings": text('{"' + "x" * 100_000 + '": 1}')}, "got 'xxx"),
    "unknown": ({"image": PIXELS, "settings": text('{"points": 3}')}, "got 'points'"),
    "too many": (
        {"image": PIXELS, "settings": text('{"points_per_side": 100000}')},
        "points_per_side: expected an integer within 1..256, got 100000",
    ),
}


def test_each_bad_request_gets_its_own_error(
    demo_server: EmbeddedServer, sam: SlimSam, scenes: list[NDArray[np.uint8]]
) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        good = pool.submit(sam.generate, scenes[0], SMALL, None, True)
        bad = {
            name: pool.submit(ask, demo_server.grpc_url, **arrays)
            for name, (arrays, _) in MALFORMED.items()
        }
    for name, future in bad.items():
        error = future.exception()
        assert isinstance(error, InferenceServerException), name
        assert error.status() == "StatusCode.INVALID_ARGUMENT", (name, error)
        assert MALFORMED[name][1] in str(error.message()), (name, error)
    assert as_tuples(good.result()) == as_tuples(sam.generate(scenes[0], SMALL, on_server=True))


def test_an_image_without_an_object(demo_server: EmbeddedServer, sam: SlimSam) -> None:
    strict = GenerateSettings(points_per_side=2, pred_iou_thresh=1.0)
    for on_server in (False, True):
        assert sam.generate(PIXELS, strict, on_server=on_server) == []
    answer = ask(demo_server.grpc_url, image=PIXELS, settings=text(strict.to_json()))
    shapes = {tensor.name: answer.as_numpy(tensor.name).shape for tensor in AUTOMATIC.outputs}
    assert shapes == {
        tensor.name: tuple(max(dim, 0) for dim in tensor.dims) for tensor in AUTOMATIC.outputs
    }


def test_crops_of_an_image_of_one_pixel(sam: SlimSam) -> None:
    kept = GenerateSettings(
        points_per_side=1, pred_iou_thresh=0, stability_score_thresh=0, crop_n_layers=1
    )
    here, there = (sam.generate(PIXELS[:1, :1], kept, on_server=where) for where in (False, True))
    assert here and [record.rle for record in here] == [record.rle for record in there]


def test_clicks_are_answered_meanwhile_and_cancelling_stops_the_work(
    demo_server: EmbeddedServer, sam: SlimSam, scenes: list[NDArray[np.uint8]]
) -> None:
    embedding = sam.embed(scenes[0])
    alone = sam.predict(embedding, points=[(100, 100)])
    before = calls(demo_server.grpc_url, DECODER.name)

    async def run() -> int:
        async with AsyncSlimSam(demo_server.grpc_url, timeout=300) as client:
            everything = asyncio.create_task(client.generate(scenes[0], FINE, on_server=True))
            await asyncio.sleep(0.5)
            answered = 0
            for _ in range(3):
                click = await client.predict(embedding, points=[(100, 100)])
                assert np.abs(click.scores - alone.scores).max() < 1e-3
                answered += not everything.done()
            everything.cancel()
            with pytest.raises(asyncio.CancelledError):
                await everything
            return answered

    assert asyncio.run(run()) == 3
    # The call that was under way ends; no further one begins.
    deadline = time.monotonic() + 60
    count = -1
    while count != (count := calls(demo_server.grpc_url, DECODER.name)):
        assert time.monotonic() < deadline
        time.sleep(3)
    assert count - before < 32**2 / 16  # as many as all the points need, 16 at a time
    started = calls(demo_server.grpc_url, AUTOMATIC.name)
    sam.generate(scenes[0], SMALL, on_server=True)  # an instance is free again
    assert calls(demo_server.grpc_url, AUTOMATIC.name) == started + 1
