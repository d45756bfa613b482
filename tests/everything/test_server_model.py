"""Everything mode inside the server: the same records, errors of its own, and room for others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import io
import shutil
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import text_format
from inference_counts import counts, settled_counts
from numpy.typing import NDArray
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from slimsam_client import (
    AsyncSlimSam,
    GenerateSettings,
    MaskRecord,
    ModelNotReadyError,
    RequestCancelledError,
    SlimSam,
)
from slimsam_client.contract import AUTOMATIC, BULK_DECODER
from slimsam_client.everything.remote import to_png
from slimsam_server import EmbeddedServer

SETTINGS = GenerateSettings(
    points_per_side=5, points_per_batch=20, pred_iou_thresh=0.75, stability_score_thresh=0.85
)
FINE = GenerateSettings(points_per_side=180, pred_iou_thresh=0.75, stability_score_thresh=0.85)
"""Nearly as many points as a request may have: no machine has all of them before a few clicks."""


SMALL = GenerateSettings(points_per_side=3, pred_iou_thresh=0.7, stability_score_thresh=0.8)


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
            crop_n_points_downscale_factor=2,
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


def test_one_embedding_for_a_batch_of_points(
    demo_server: EmbeddedServer, sam: SlimSam, scenes: list[NDArray[np.uint8]]
) -> None:
    before = settled_counts(demo_server.grpc_url, BULK_DECODER.name)[0]
    seen: list[tuple[int, int]] = []
    settings = GenerateSettings(points_per_side=9)
    sam.generate(scenes[0], settings, lambda *done: seen.append(done), on_server=False)
    after = settled_counts(demo_server.grpc_url, BULK_DECODER.name, before + 6)[0]
    assert after - before == 6  # 81 points, 16 to a request
    assert seen == [(number, 7) for number in range(1, 8)]


def test_the_client_prefers_the_servers_model(
    demo_server: EmbeddedServer, sam: SlimSam, scenes: list[NDArray[np.uint8]]
) -> None:
    before = settled_counts(demo_server.grpc_url, AUTOMATIC.name)[0]
    sam.generate(scenes[0], SMALL)
    assert settled_counts(demo_server.grpc_url, AUTOMATIC.name, before + 1)[0] == before + 1


def test_a_server_without_the_model(
    demo_repository: Path, scenes: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    repository = shutil.copytree(demo_repository, tmp_path / "repository", symlinks=True)
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
        dtype = np_to_triton_dtype(array.dtype)
        inputs.append(triton.InferInput(name, list(array.shape), dtype))
        inputs[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(url) as client:
        return client.infer(AUTOMATIC.name, inputs, client_timeout=120)


def text(content: str | bytes) -> NDArray[np.object_]:
    return np.array([content], np.object_)


PIXELS = np.zeros((40, 60, 3), np.uint8)
PNG = text(to_png(PIXELS))
BOMB = (
    '{"points_per_side": 256, "crop_n_layers": 4, "points_per_batch": 1, "pred_iou_thresh": 0, '
    '"stability_score_thresh": 0, "box_nms_thresh": 1, "crop_nms_thresh": 1}'
)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n%%EndComments\nshowpage\n%%EOF\n"


def encoded(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, form)
    return file.getvalue()


def header(width: int, height: int) -> bytes:
    """A PNG without pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


MALFORMED: dict[str, tuple[dict[str, NDArray[Any]], str]] = {
    "nothing": ({}, "missing required input(s) ['image_bytes']"),
    "settings alone": ({"settings": text("{}")}, "image_bytes: expected an encoded picture"),
    "pixels, as 0.1.0 took them": (
        {"image": PIXELS, "settings": text("{}")},
        "unexpected inference input 'image'",
    ),
    "both": ({"image": PIXELS, "image_bytes": PNG}, "unexpected inference input 'image'"),
    "no image": ({"image_bytes": text(b"no image")}, "expected an image of one of the formats"),
    "cut off": ({"image_bytes": text(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")}, "expected a"),
    "no JSON": ({"image_bytes": PNG, "settings": text("{")}, "expected a JSON object"),
    "a list": ({"image_bytes": PNG, "settings": text("[1]")}, "expected a JSON object, got list"),
    "nested": ({"image_bytes": PNG, "settings": text("[" * 4096)}, "expected a JSON object"),
    "long": (
        {"image_bytes": PNG, "settings": text("[" * 100_000)},
        "expected at most 4,096 bytes of JSON (the server's max_settings_bytes), got 100,000",
    ),
    "a setting of a long name": (
        {"image_bytes": PNG, "settings": text('{"' + "x" * 4000 + '": 1}')},
        "got 'xxx",
    ),
    "a cheap request for hours of work": (
        {"image_bytes": PNG, "settings": text(BOMB)},
        "expected at most 32,768 points in all crops together (the server's max_points), "
        "got 22,347,776",
    ),
    "one point at a time": (
        {
            "image_bytes": PNG,
            "settings": text('{"points_per_side": 100, "points_per_batch": 1}'),
        },
        "calls of the encoder and the decoder (the server's max_calls), got 10,001",
    ),
    "PostScript": ({"image_bytes": text(EPS)}, "of one of the formats JPEG, PNG, WEBP, TIFF, "),
    "another format": ({"image_bytes": text(encoded("JPEG2000"))}, "of one of the formats JPEG"),
    "a picture of 179 million pixels in 57 bytes": (
        {"image_bytes": text(header(13_377, 13_377))},
        "expected at most 67,108,864 pixels, got 13377 x 13377; that is the server's max_pixels",
    ),
    "unknown": ({"image_bytes": PNG, "settings": text('{"points": 3}')}, "got 'points'"),
    "too many": (
        {"image_bytes": PNG, "settings": text('{"points_per_side": 100000}')},
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
    answer = ask(demo_server.grpc_url, image_bytes=PNG, settings=text(strict.to_json()))
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
    before = settled_counts(demo_server.grpc_url, BULK_DECODER.name)[0]

    async def run() -> int:
        async with AsyncSlimSam(demo_server.grpc_url, timeout=300) as client:
            everything = asyncio.create_task(client.generate(scenes[0], FINE, on_server=True))
            while counts(demo_server.grpc_url, BULK_DECODER.name)[0] == before:  # it has begun
                await asyncio.sleep(0.02)
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
    while count != (count := counts(demo_server.grpc_url, BULK_DECODER.name)[0]):
        assert time.monotonic() < deadline
        time.sleep(3)
    assert count - before < FINE.points_per_side**2 / 16  # which all of them need, 16 at a time
    started = settled_counts(demo_server.grpc_url, AUTOMATIC.name)[0]
    sam.generate(scenes[0], SMALL, on_server=True)  # an instance is free again
    assert settled_counts(demo_server.grpc_url, AUTOMATIC.name, started + 1)[0] == started + 1


def test_a_picture_takes_no_longer_than_the_configuration_says(
    demo_repository: Path, scenes: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    repository = shutil.copytree(demo_repository, tmp_path / "repository", symlinks=True)
    path = repository / AUTOMATIC.name / "configs" / "openvino.pbtxt"
    config = text_format.Parse(path.read_text(), ModelConfig())
    config.parameters["max_seconds"].string_value = "1"
    path.write_text(text_format.MessageToString(config))
    settings = GenerateSettings(points_per_side=180, pred_iou_thresh=0)
    with EmbeddedServer(repository) as server, SlimSam(server.grpc_url, timeout=120) as sam:
        with pytest.raises(RequestCancelledError, match="within 1 s .the server's max_seconds."):
            sam.generate(scenes[0], settings, on_server=True)
