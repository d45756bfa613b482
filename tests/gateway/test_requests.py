"""Pictures and prompts that are right, and what comes of them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from running_gateway import Gateway, drawn, encoded, kind

from slimsam_client import GenerateSettings, MaskRecord, SlimSam
from slimsam_client.contract import AUTOMATIC, CLICK, IMAGE, IMAGE_KEY_HEADER
from slimsam_client.encodings import from_packed_bits, from_png, from_polygons, from_rle, to_box
from slimsam_client.testing import FakeServer

POINT = {"points": [[90, 90]]}
BOXES = {"box": [[40, 40, 140, 140], [190, 50, 310, 210]], "multimask_output": False}
SIZE = (240, 320)


@pytest.fixture
def sam(server: FakeServer) -> Any:
    with SlimSam(server.url) as client:
        yield client


def asked(gateway: Gateway, image_id: str, prompt: Any, **query: Any) -> dict[str, Any]:
    answer = gateway.http.post(f"/v1/images/{image_id}/masks", json=prompt, params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def rle(counts: str, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    return from_rle({"size": list(size), "counts": counts})


def test_a_picture_is_kept_by_the_id_of_the_server(
    gateway: Gateway, picture: bytes, sam: SlimSam
) -> None:
    answer = gateway.http.post("/v1/images", content=picture)
    assert answer.status_code == 201
    kept = sam.upload(picture)
    assert answer.json() == {"id": kept.image_id, "width": 320, "height": 240}  # type: ignore[union-attr]


def test_masks_in_each_format(gateway: Gateway, picture: bytes, sam: SlimSam) -> None:
    image_id = gateway.upload(picture)
    expected = sam.predict(sam.embed(picture), **POINT)
    mask = expected.best_masks
    assert mask.any() and not mask.all()
    for form in ("rle", "png", "polygons", "bits", "logits"):
        answer = asked(gateway, image_id, {**POINT, "format": form})
        assert answer["format"] == form
        assert answer["scores"] == [[expected.best_scores]]
        assert answer["boxes"] == [[list(to_box(mask) or ())]]
        assert answer["areas"] == [[mask.sum()]]
        [[found]] = answer["masks"]
        if form == "logits":
            logits = np.frombuffer(base64.b64decode(found), "<f2").reshape(256, 256)
            np.testing.assert_array_equal(logits, expected.best_logits)
            continue
        decoded = {
            "rle": rle,
            "png": lambda text: from_png(base64.b64decode(text)),
            "polygons": lambda one: from_polygons(one["coordinates"], SIZE),
            "bits": lambda text: from_packed_bits(base64.b64decode(text), SIZE),
        }[form](found)
        np.testing.assert_array_equal(decoded, mask)


def test_several_objects_with_all_their_masks(
    gateway: Gateway, picture: bytes, sam: SlimSam
) -> None:
    image_id = gateway.upload(picture)
    embedding = sam.embed(picture)
    answer = asked(gateway, image_id, BOXES)
    expected = sam.predict(embedding, **BOXES)
    masks = [[rle(one) for one in row] for row in answer["masks"]]
    np.testing.assert_array_equal(masks, expected.masks)

    several = {"points": [[[90, 90]], [[250, 100]]]}
    answer = asked(gateway, image_id, {**several, "masks": "all"})
    expected = sam.predict(embedding, several["points"])
    masks = [[rle(one) for one in row] for row in answer["masks"]]
    np.testing.assert_array_equal(masks, expected.masks)
    np.testing.assert_array_equal(answer["scores"], expected.scores)
    assert np.shape(answer["boxes"]) == (2, 3, 4)
    assert np.shape(answer["mask_ids"]) == (2, 3)


def test_a_mask_is_refined_by_its_id(gateway: Gateway, picture: bytes, sam: SlimSam) -> None:
    image_id = gateway.upload(picture)
    [[mask_id]] = asked(gateway, image_id, POINT)["mask_ids"]
    more = {"points": [[90, 90], [60, 90]], "labels": [1, 0]}
    [[found]] = asked(gateway, image_id, {**more, "mask_id": mask_id})["masks"]
    embedding = sam.embed(picture)
    first = sam.predict(embedding, **POINT)
    expected = sam.predict(embedding, **more, mask_input=first.best_logits)
    np.testing.assert_array_equal(rle(found), expected.best_masks)


def test_masks_of_previews_have_no_ids(gateway: Gateway, picture: bytes) -> None:
    image_id = gateway.upload(picture)
    for prompt in (POINT, {**BOXES, "masks": "all"}):
        expected = asked(gateway, image_id, prompt)
        found = asked(gateway, image_id, {**prompt, "keep_masks": False})
        assert found["mask_ids"] == [[None] * len(row) for row in expected["mask_ids"]]
        assert found["masks"] == expected["masks"]


def test_a_pictures_requests_have_one_key_for_proxies(
    gateway: Gateway, picture: bytes, sam: SlimSam, server: FakeServer
) -> None:
    """That of the SDK, so that both come to one of several servers."""
    path = f"/v1/images/{gateway.upload(picture)}"
    asked(gateway, path.rpartition("/")[2], POINT)
    assert gateway.http.post(f"{path}/everything?points_per_side=2", content=picture).is_success
    assert gateway.http.delete(path).is_success
    kept = sam.upload(picture)
    sam.predict(kept, **POINT)
    models = [IMAGE, CLICK, IMAGE, AUTOMATIC, CLICK, IMAGE, CLICK]
    assert [request.model for request in server.requests] == [model.name for model in models]
    keys = {request.headers.get(IMAGE_KEY_HEADER) for request in server.requests}
    assert keys == {kept.key}  # type: ignore[union-attr]
    other = gateway.upload(encoded(drawn().rotate(90)))
    asked(gateway, other, POINT)
    keys = {request.headers.get(IMAGE_KEY_HEADER) for request in server.requests[-2:]}
    assert len(keys) == 1 and keys != {kept.key}  # type: ignore[union-attr]


def test_a_picture_that_was_reduced(gateway: Gateway, sam: SlimSam) -> None:
    large = drawn().resize((1280, 960))
    query = {"original_width": 1280, "original_height": 960}
    reduced = encoded(large.resize((1024, 768)))
    answer = gateway.http.post("/v1/images", content=reduced, params=query)
    assert answer.status_code == 201
    kept = answer.json()
    assert (kept["width"], kept["height"]) == (1280, 960)
    answer = asked(gateway, kept["id"], {"points": [[360, 360]]})
    [[found]] = answer["masks"]
    mask = rle(found, (960, 1280))
    assert mask[360, 360] and mask.sum() == answer["areas"][0][0]

    path, settings = f"/v1/images/{kept['id']}/everything", GenerateSettings(points_per_side=5)
    answer = gateway.http.post(f"{path}?points_per_side=5", content=reduced, params=query)
    assert answer.status_code == 200, answer.text
    masks = [MaskRecord.from_dict(one).segmentation for one in answer.json()["records"]]
    expected = sam.generate(large, settings)
    assert len(masks) == len(expected) > 2
    for record in expected:  # whose order depends on which of two equal masks is left out
        best = max(masks, key=lambda one: (one == record.segmentation).mean())
        assert best.shape == (960, 1280) and (best == record.segmentation).mean() > 0.99
    # With another size, or none, it is another picture.
    for wrong in ({}, {"original_width": 1280, "original_height": 961}):
        problem = gateway.problem("POST", path, content=reduced, params=wrong)
        assert "original" in problem["detail"]


def test_a_forgotten_picture_is_gone(gateway: Gateway, picture: bytes) -> None:
    image_id = gateway.upload(picture)
    answer = gateway.http.delete(f"/v1/images/{image_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert gateway.http.delete(f"/v1/images/{image_id}").status_code == 204
    problem = gateway.problem("POST", f"/v1/images/{image_id}/masks", json=POINT)
    assert problem["status"] == 404 and problem["detail"].startswith("not kept here: picture")


def test_everything(gateway: Gateway, picture: bytes, sam: SlimSam) -> None:
    image_id = gateway.upload(picture)
    path = f"/v1/images/{image_id}/everything"
    query = {"points_per_side": 5, "pred_iou_thresh": 0.5}
    answer = gateway.http.post(path, content=picture, params=query)
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert (content["width"], content["height"]) == (320, 240)
    settings = GenerateSettings(points_per_side=5, pred_iou_thresh=0.5)
    expected = sam.generate(picture, settings)
    assert len(expected) > 2
    assert content["records"] == [record.as_dict("coco_rle") for record in expected]
    first = MaskRecord.from_dict(content["records"][0]).segmentation
    np.testing.assert_array_equal(first, expected[0].segmentation)


def test_everything_needs_the_picture_of_its_id(gateway: Gateway, picture: bytes) -> None:
    image_id = gateway.upload(picture)
    other = encoded(drawn().rotate(90))
    problem = gateway.problem("POST", f"/v1/images/{image_id}/everything", content=other)
    assert kind(problem) == "not-kept" and "another" in problem["detail"]


def test_the_gateway_asks_once_for_each_request(
    gateway: Gateway, picture: bytes, server: FakeServer
) -> None:
    image_id = gateway.upload(picture)
    asked(gateway, image_id, POINT)
    gateway.http.post(f"/v1/images/{image_id}/everything?points_per_side=1", content=picture)
    models = [request.model for request in server.requests]
    assert models == [IMAGE.name, CLICK.name, IMAGE.name, AUTOMATIC.name]


def test_another_gateway_knows_the_same_pictures(
    gateway: Gateway, start: Any, picture: bytes
) -> None:
    image_id = gateway.upload(picture)
    answer = asked(gateway, image_id, POINT)
    other = asked(start(), image_id, POINT)
    assert other["masks"] == answer["masks"]


def test_a_body_may_be_of_any_media_type(gateway: Gateway, picture: bytes) -> None:
    for media in ("image/png", "application/octet-stream", "application/x-www-form-urlencoded"):
        headers = {"content-type": media}
        answer = gateway.http.post("/v1/images", content=picture, headers=headers)
        assert answer.status_code == 201
