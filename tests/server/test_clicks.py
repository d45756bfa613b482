"""Clicks on pictures that the server keeps, on a real tritonserver and by Triton's own client."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import json
import re
import shutil
import struct
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from clicking import PUBLISHED_SECONDS, click, infer, kept_mask_bytes, masks_of, upload
from inference_counts import settled_counts
from PIL import Image
from skimage import data
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from slimsam_client import GenerateSettings, NotKeptError, SlimSam, UploadedImage
from slimsam_client.contract import CLICK, ENCODER, INFO, NOT_KEPT
from slimsam_client.encodings import from_packed_bits, from_png, from_polygons
from slimsam_client.everything.remote import to_png
from slimsam_server import EmbeddedServer

SIZE = (400, 600)
PICTURES = [
    np.ascontiguousarray(np.roll(data.coffee(), 90 * index, axis=1)[: SIZE[0]])
    for index in range(4)
]


@pytest.fixture(scope="module")
def client(demo_server: EmbeddedServer) -> Iterator[Any]:
    with triton.InferenceServerClient(demo_server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def sam(demo_server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(demo_server.grpc_url, timeout=120) as sam:
        yield sam


@pytest.fixture(scope="module")
def ids(client: Any) -> list[str]:
    return [upload(client, to_png(picture)) for picture in PICTURES]


PROMPTS: dict[str, dict[str, Any]] = {
    "a click": {"points": [[220, 130.25]]},
    "clicks": {"points": [[220, 130], [300.5, 300]], "labels": [1, 0]},
    "a box": {"box": [100, 80, 400, 320]},
    "objects": {"points": [[[220, 130]], [[60, 30], [70, 390]], [[599, 399]]]},
    "boxes, one mask each": {
        "box": [[100, 80, 400, 320], [0, 0, 50, 60]],
        "multimask_output": False,
    },
    "no objects": {"points": []},
}


@pytest.mark.parametrize("name", PROMPTS)
def test_masks_and_scores_equal_those_of_an_embedding(
    name: str, client: Any, sam: SlimSam, ids: list[str]
) -> None:
    embedding = sam.embed(PICTURES[0])
    for kind in ("all", "best"):
        expected = sam.predict(embedding, **PROMPTS[name], masks=kind)
        answer = click(client, ids[0], **PROMPTS[name], masks=kind)
        count = expected.scores.shape[-1]
        assert np.array_equal(answer["scores"], expected.scores.reshape(-1, count))
        assert np.array_equal(masks_of(answer, SIZE), expected.masks.reshape(-1, count, *SIZE))


def test_every_format_has_the_same_mask(client: Any, ids: list[str]) -> None:
    answers = {
        form: click(client, ids[1], points=[[220, 130]], format=form)
        for form in ("rle", "png", "polygons", "bits", "logits")
    }
    data = {form: answer["masks"][0, 0] for form, answer in answers.items()}
    mask = masks_of(answers["rle"], SIZE)[0, 0]
    assert mask.any() and answers["rle"]["areas"].tolist() == [[mask.sum()]]
    assert np.array_equal(from_png(data["png"]), mask)
    assert np.array_equal(from_packed_bits(data["bits"], SIZE), mask)
    rings = json.loads(data["polygons"])["coordinates"]
    assert np.array_equal(from_polygons(rings, SIZE), mask)
    assert len(data["logits"]) == 2 * 256**2


def test_a_mask_is_refined_by_its_id(client: Any, sam: SlimSam, ids: list[str]) -> None:
    embedding = sam.embed(PICTURES[2])
    first = sam.predict(embedding, points=[[220, 130]])
    points = {"points": [[220, 130], [300, 200]], "labels": [1, 0], "multimask_output": False}
    expected = sam.predict(embedding, **points, mask_input=first.best_logits)
    mask_id = click(client, ids[2], points=[[220, 130]])["mask_ids"][0, 0].decode()
    answer = click(client, ids[2], **points, mask_id=mask_id)
    assert np.array_equal(answer["scores"][0], expected.scores)
    assert np.array_equal(masks_of(answer, SIZE)[0], expected.masks)
    with pytest.raises(InferenceServerException, match=f"{NOT_KEPT}mask") as caught:
        click(client, ids[1], **points, mask_id=mask_id)
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_masks_that_nobody_refines_are_not_kept(
    client: Any, demo_server: EmbeddedServer, sam: SlimSam, ids: list[str]
) -> None:
    # There is room: in place of masks that other tests have left, others would be kept.
    crowding = upload(client, to_png(PICTURES[1][:, ::-1]))
    click(client, crowding, points=[[220, 130]], masks="all")
    click(client, crowding, forget=True)
    kept = click(client, ids[1], points=[[220, 130]])
    before = kept_mask_bytes(demo_server, client)
    preview = click(client, ids[1], points=[[220, 130]], keep_masks=False, masks="all")
    assert preview["mask_ids"].tolist() == [[b""] * 3]
    image = sam.upload(PICTURES[1])
    prediction = sam.predict(image, [[220, 130]], keep_masks=False)
    assert np.array_equal(masks_of(preview, SIZE)[0], prediction.masks)
    refined = click(
        client, ids[1], mask_id=kept["mask_ids"][0, 0].decode(), masks="all", keep_masks=False
    )
    assert refined["areas"].shape == (1, 3)
    assert kept_mask_bytes(demo_server, client) == before > 0
    click(client, ids[1], points=[[220, 130]], masks="all")
    assert kept_mask_bytes(demo_server, client) > before


def test_a_picture_that_is_kept_is_not_encoded_again(
    client: Any, demo_server: EmbeddedServer, ids: list[str]
) -> None:
    before = settled_counts(demo_server.grpc_url, ENCODER.name)
    assert upload(client, to_png(PICTURES[0])) == ids[0]
    assert settled_counts(demo_server.grpc_url, ENCODER.name) == before


def test_everything_mode_does_not_encode_it_again(
    demo_server: EmbeddedServer, sam: SlimSam
) -> None:
    settings = GenerateSettings(points_per_side=3, pred_iou_thresh=0.7, stability_score_thresh=0.8)
    crops = dataclasses.replace(settings, crop_n_layers=1)
    image = sam.upload(PICTURES[3])
    for chosen, encodings in ((settings, 0), (crops, 4)):
        before = settled_counts(demo_server.grpc_url, ENCODER.name)[0]
        found = sam.generate(image, chosen, on_server=True)
        encoded = before + encodings
        assert settled_counts(demo_server.grpc_url, ENCODER.name, encoded)[0] == encoded
        expected = sam.generate(PICTURES[3], chosen, on_server=False)
        assert list(map(dataclasses.astuple, found)) == list(map(dataclasses.astuple, expected))


def turned() -> bytes:
    """A JPEG that EXIF turns by a quarter."""
    picture = Image.fromarray(PICTURES[0])
    exif = picture.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif)
    return file.getvalue()


COFFEE = Image.fromarray(PICTURES[0])
OF_ALL_KINDS: dict[str, Any] = {
    **{mode: COFFEE.convert(mode) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "F")},
    "deep gray": np.asarray(COFFEE.convert("L"), np.uint16) * 257,
    "an array of gray": np.asarray(COFFEE.convert("L")),
    "turned by EXIF": turned(),
    "one pixel": PICTURES[0][:1, :1],
    "thin": PICTURES[0][:2],
    "tall and large": np.tile(PICTURES[1], (4, 2, 1)),
    "as large as the frame": np.tile(PICTURES[1], (3, 2, 1))[:1024, :1024],
}


@pytest.mark.parametrize("name", OF_ALL_KINDS)
def test_the_sdks_uploads_are_its_embeddings(name: str, sam: SlimSam) -> None:
    picture = OF_ALL_KINDS[name]
    if name == "deep gray":
        picture = Image.fromarray(picture)
    image, embedding = sam.upload(picture), sam.embed(picture)
    assert isinstance(image, UploadedImage) and image.original_size == embedding.original_size
    height, width = image.original_size
    prompts: dict[str, Any] = {
        "points": [[width / 3, height / 2], [width - 0.25, height]],
        "labels": [1, 0],
        "box": [0, 0, width, height],
    }
    for kind in ("all", None):
        found = sam.predict(image, **prompts, masks=kind)
        expected = sam.predict(embedding, **prompts, masks=kind)
        assert np.array_equal(found.scores, expected.scores)
        if kind is None:
            assert np.array_equal(found.low_res_logits, expected.low_res_logits)
        else:
            assert np.array_equal(found.masks, expected.masks)


def test_the_sdk_refines_by_id_and_by_logits(sam: SlimSam) -> None:
    image, embedding = sam.upload(PICTURES[1]), sam.embed(PICTURES[1])
    first, expected = sam.predict(image, [[220, 130]]), sam.predict(embedding, [[220, 130]])
    box = {"box": [100, 80, 400, 320], "multimask_output": False}
    refined = sam.predict(embedding, **box, mask_input=expected.best_logits)
    for mask_input in (first.best_mask_ids, expected.best_logits):
        found = sam.predict(image, **box, mask_input=mask_input)
        assert np.array_equal(found.masks, refined.masks)
        assert np.array_equal(found.scores, refined.scores)


def test_the_sdk_sends_again_what_was_forgotten(client: Any, sam: SlimSam) -> None:
    image = sam.upload(PICTURES[2][::-1])
    assert isinstance(image, UploadedImage)
    first = sam.predict(image, [[220, 130]])
    click(client, image.image_id, forget=True)
    again = sam.predict(image, [[220, 130]])
    assert np.array_equal(first.masks, again.masks)
    click(client, image.image_id, forget=True)
    with pytest.raises(NotKeptError, match=f"{NOT_KEPT}mask"):
        sam.predict(image, [[220, 130]], mask_input=again.best_mask_ids)


def test_a_click_takes_less_than_a_kilobyte_up(ids: list[str]) -> None:
    prompt = json.dumps({"points": [[220, 130.25], [300.5, 300]], "labels": [1, 0]})
    request = service_pb2.ModelInferRequest(model_name=CLICK.name)
    for name, text in (("image_id", ids[0]), ("prompt", prompt)):
        request.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
        request.raw_input_contents.append(struct.pack("<I", len(text)) + text.encode())
    assert request.ByteSize() < 300


def test_users_on_different_pictures_get_their_own_masks(
    client: Any, sam: SlimSam, ids: list[str]
) -> None:
    points = [[[60 + 100 * index, 200]] for index in range(5)]
    expected = {
        (picture, index): sam.predict(embedding, points=point, masks="best")
        for picture, embedding in enumerate(sam.embed(PICTURES))
        for index, point in enumerate(points)
    }
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = {
            place: pool.submit(click, client, ids[place[0]], points=points[place[1]])
            for place in expected
        }
    for place, prediction in expected.items():
        answer = answers[place].result()
        assert np.array_equal(answer["scores"][0], prediction.scores), place
        assert np.array_equal(masks_of(answer, SIZE)[0], prediction.masks), place


def test_forgetting_a_picture(client: Any, demo_server: EmbeddedServer) -> None:
    content = to_png(PICTURES[0][:, ::-1])
    image_id = upload(client, content)
    click(client, image_id, points=[[220, 130]])
    assert click(client, image_id, forget=True)["masks"].shape == (0, 1)
    with pytest.raises(InferenceServerException, match=f"{NOT_KEPT}picture {image_id}; send it"):
        click(client, image_id, points=[[220, 130]])
    before = settled_counts(demo_server.grpc_url, ENCODER.name)[0]
    assert upload(client, content) == image_id
    assert settled_counts(demo_server.grpc_url, ENCODER.name, before + 1)[0] == before + 1


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "another picture": ({"image_id": "0" * 64}, "NOT_FOUND", f"{NOT_KEPT}picture 000"),
    "no id": ({"image_id": "photo.jpg"}, "INVALID_ARGUMENT", "image_id: expected an id as the"),
    "no JSON": ({"prompt": "{"}, "INVALID_ARGUMENT", "prompt: expected a JSON object, got"),
    "outside": ({"prompt": '{"points": [[999, 1]]}'}, "INVALID_ARGUMENT", "expected (x, y) within"),
    "long": ({"prompt": " " * 70_000}, "INVALID_ARGUMENT", "at most 65,536 bytes of JSON"),
    "too many": (
        {"prompt": json.dumps({"box": [[0, 0, 1, 1]] * 17})},
        "INVALID_ARGUMENT",
        "box: expected a list for at most 16 objects",
    ),
}


def test_each_bad_request_gets_its_own_error(client: Any, ids: list[str]) -> None:
    good = {"image_id": ids[0], "prompt": '{"points": [[220, 130]]}'}

    def ask(change: dict[str, str]) -> Any:
        texts = {**good, **change}
        return infer(
            client, CLICK, {name: np.array([text], np.object_) for name, text in texts.items()}
        )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        bad = {name: pool.submit(ask, case[0]) for name, case in REFUSED.items()}
        well = [pool.submit(ask, {}) for _ in range(4)]
    for name, (_, status, said) in REFUSED.items():
        error = bad[name].exception()
        assert isinstance(error, InferenceServerException), name
        assert error.status() == f"StatusCode.{status}" and said in str(error.message()), name
    assert {answer.result()["areas"].tolist()[0][0] for answer in well} == {
        ask({})["areas"].tolist()[0][0]
    }


def test_several_rows_are_refused(client: Any, ids: list[str]) -> None:
    inputs = []
    for name, text in (("image_id", ids[0]), ("prompt", "{}")):
        inputs.append(triton.InferInput(name, [2, 1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([[text], [text]], np.object_))
    with pytest.raises(InferenceServerException, match="image_id: expected one row, got 2"):
        client.infer(CLICK.name, inputs)


def test_pictures_that_cannot_be_used(client: Any) -> None:
    for content, said in (
        (b"no picture", "expected an image of one of the formats JPEG, PNG"),
        (to_png(PICTURES[0])[:1000], "expected a"),
    ):
        with pytest.raises(InferenceServerException, match=said) as caught:
            upload(client, content)
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match="original_size: expected that of a picture"):
        upload(client, to_png(PICTURES[0]), original_size=np.array([5, 5], np.int32))


def test_the_cache_has_metrics(client: Any, demo_server: EmbeddedServer, ids: list[str]) -> None:
    def published() -> dict[str, float]:
        with urllib.request.urlopen(demo_server.metrics_url, timeout=60) as answer:
            lines = re.findall(r"^(slimsam_cache_.*) (\S+)$", answer.read().decode(), re.MULTILINE)
        return {name: float(value) for name, value in lines}

    least = {
        'slimsam_cache_events_total{event="hits",kind="picture"}': 1,
        'slimsam_cache_bytes{kind="picture"}': len(ids) * 2**21,
        'slimsam_cache_oldest_seconds{kind="picture"}': 1e-3,
    }
    deadline = time.monotonic() + PUBLISHED_SECONDS
    # They are published once a second, one after the other.
    found = published()
    while any(found.get(name, 0) < value for name, value in least.items()):
        assert time.monotonic() < deadline, found
        click(client, ids[0], points=[[220, 130]])
        found = published()


def test_artifacts_of_before_there_was_a_digest(
    demo_repository: Path, client: Any, ids: list[str], tmp_path: Path
) -> None:
    """All else is served, and a picture is not taken under a name that might be another model's."""
    repository = shutil.copytree(demo_repository, tmp_path / "repository", symlinks=True)
    (repository / INFO.name / "1" / "openvino.json").unlink()
    with (
        EmbeddedServer(repository) as server,
        triton.InferenceServerClient(server.grpc_url) as other,
    ):
        with pytest.raises(InferenceServerException, match="build the artifacts again") as caught:
            upload(other, to_png(PICTURES[0]))
        assert caught.value.status() == "StatusCode.INTERNAL"
        # Nor has another server's picture come along.
        with pytest.raises(InferenceServerException, match=f"{NOT_KEPT}picture {ids[0]}"):
            click(other, ids[0], points=[[220, 130]])
    assert click(client, ids[0], points=[[220, 130]])["areas"].size == 1
