"""What X-AnyLabeling 4.2 sends to a remote server, and what it is answered."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from running_gateway import Gateway, drawn, encoded

from slimsam_client import SlimSam
from slimsam_client.contract import CLICK, IMAGE
from slimsam_client.encodings import from_polygons
from slimsam_client.testing import FakeServer
from slimsam_gateway.keys import KeyRing

PREDICT = "/x-anylabeling/v1/predict"
POINT = {"type": "point", "data": [90, 90], "label": 1}
OTHER = {"type": "point", "data": [20, 20], "label": 0}
RECTANGLE = {"type": "rectangle", "data": [40, 40, 140, 140]}
SIZE = (240, 320)


def request(picture: bytes, *marks: Any, **params: Any) -> dict[str, Any]:
    image = "data:image/png;base64," + base64.b64encode(picture).decode()
    return {"model": "slimsam", "image": image, "params": {"marks": list(marks), **params}}


def shapes(gateway: Gateway, content: Any, **options: Any) -> list[dict[str, Any]]:
    answer = gateway.http.post(PREDICT, json=content, **options)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["success"] is True and told["data"].keys() == {"shapes", "description", "replace"}
    found: list[dict[str, Any]] = told["data"]["shapes"]
    return found


def filled(found: list[dict[str, Any]], size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    for shape in found:
        assert shape["label"] == "AUTOLABEL_OBJECT" and shape["shape_type"] == "polygon"
        assert shape["points"][0] == shape["points"][-1]
    return from_polygons([[shape["points"][:-1]] for shape in found], size)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def refusal(gateway: Gateway, status: int, **options: Any) -> dict[str, str]:
    answer = gateway.http.post(PREDICT, **options)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    told = answer.json()
    assert told.keys() == {"success", "error"} and told["success"] is False
    error: dict[str, str] = told["error"]
    line = gateway.log.line_of(answer.headers["x-request-id"])
    assert error.keys() == {"code", "message"} and line["problem"] == error["code"]
    return error


def test_the_model_and_its_buttons(gateway: Gateway) -> None:
    told = gateway.http.get("/x-anylabeling/v1/models").json()
    assert told["success"] is True
    ((name, model),) = told["data"].items()
    assert name == "slimsam"
    widgets = {widget["name"]: widget["value"] for widget in model["widgets"]}
    assert widgets["mask_fineness_slider"] == 10
    assert {"button_add_point", "button_remove_point", "button_add_rect"} < widgets.keys()


def test_health_is_that_of_the_server(gateway: Gateway, start: Any) -> None:
    answer = gateway.http.get("/x-anylabeling/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    answer = start(url="localhost:1").http.get("/x-anylabeling/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")


@pytest.mark.parametrize(
    ("marks", "prompt"),
    [
        ([POINT], {"points": [[90, 90]]}),
        ([POINT, OTHER], {"points": [[90, 90], [20, 20]], "labels": [1, 0]}),
        ([RECTANGLE], {"box": [40, 40, 140, 140]}),
        (
            [{**RECTANGLE, "data": [140, 40, 40, 140]}, POINT],
            {"box": [40, 40, 140, 140], "points": [[90, 90]]},
        ),
    ],
)
def test_polygons_are_the_mask_of_the_sdk(
    gateway: Gateway, server: FakeServer, picture: bytes, marks: Any, prompt: Any
) -> None:
    with SlimSam(server.url) as sam:
        expected = sam.predict(sam.embed(picture), **prompt)
    assert expected.best_masks.any()
    found = shapes(gateway, request(picture, *marks, epsilon_factor=0))
    np.testing.assert_array_equal(filled(found), expected.best_masks)
    assert {shape["score"] for shape in found} == {float(expected.best_scores)}
    usual = shapes(gateway, request(picture, *marks))
    assert iou(filled(usual), expected.best_masks) >= 0.99
    assert sum(len(one["points"]) for one in usual) < sum(len(one["points"]) for one in found)


def test_rectangles_are_an_object_each(gateway: Gateway, picture: bytes) -> None:
    other = {"type": "rectangle", "data": [200, 60, 300, 200]}
    both = shapes(gateway, request(picture, RECTANGLE, other))
    each = [shapes(gateway, request(picture, one)) for one in (RECTANGLE, other)]
    assert both == [*each[0], *each[1]]


def test_no_marks_have_no_shapes(gateway: Gateway, server: FakeServer, picture: bytes) -> None:
    for params in ({"marks": []}, {"marks": None}, {}, None):
        assert shapes(gateway, {**request(picture), "params": params}) == []
    assert server.requests == []


def test_the_picture_goes_to_the_server_with_each_click(
    gateway: Gateway, server: FakeServer, picture: bytes
) -> None:
    shapes(gateway, request(picture, POINT))
    shapes(gateway, request(picture, POINT, OTHER))
    assert [one.model for one in server.requests] == [IMAGE.name, CLICK.name] * 2


def test_base64_without_the_head_of_a_data_url(gateway: Gateway, picture: bytes) -> None:
    content = request(picture, POINT)
    expected = shapes(gateway, content)
    assert shapes(gateway, {**content, "image": content["image"].partition(",")[2]}) == expected


def test_a_turned_picture_is_clicked_as_it_is_shown(gateway: Gateway, server: FakeServer) -> None:
    image = drawn()
    exif = image.getexif()
    exif[0x0112] = 6
    content = encoded(image, "JPEG", exif=exif)
    point = {"type": "point", "data": [150, 90], "label": 1}
    with SlimSam(server.url) as sam:
        expected = sam.predict(sam.embed(content), points=[[150, 90]]).best_masks
    assert expected.shape == (320, 240) and expected.any()
    found = shapes(gateway, request(content, point, epsilon_factor=0))
    np.testing.assert_array_equal(filled(found, (320, 240)), expected)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"model": "sam"}, "prompt", "model: expected 'slimsam', got 'sam'"),
        ({"image": None}, "image", "image: expected a picture in base64"),
        ({"image": "data:image/png;base64,é"}, "image", "image: expected base64"),
        ({"image": "bm8gcGljdHVyZQ=="}, "refused", "image bytes: expected an image"),
        ({"params": 1}, "prompt", "params: expected an object, got 1"),
        ({"params": {"marks": "x"}}, "prompt", "marks: expected a list, got 'x'"),
        ({"params": {"marks": [1]}}, "prompt", "mark 0: expected a point or a rectangle, got 1"),
        (
            {"params": {"marks": [{"type": "point", "data": [1, True]}]}},
            "prompt",
            "mark 0: expected data of 2 numbers",
        ),
        (
            {"params": {"marks": [{**POINT, "label": 2}]}},
            "prompt",
            "labels",
        ),
        (
            {"params": {"marks": [POINT, RECTANGLE, RECTANGLE]}},
            "prompt",
            "marks: expected at most one rectangle beside points, got 2",
        ),
        (
            {"params": {"marks": [POINT], "epsilon_factor": -1}},
            "prompt",
            "epsilon_factor: expected a number from 0 to 1, got -1",
        ),
        ({"params": {"marks": [{**POINT, "data": [9000, 1]}]}}, "refused", "point 0: expected"),
    ],
)
def test_requests_that_are_wrong(
    gateway: Gateway, picture: bytes, change: Any, code: str, said: str
) -> None:
    content = {**request(picture, POINT), **change}
    error = refusal(gateway, 400, json=content)
    assert error["code"] == code and said in error["message"]


def test_bodies_that_are_no_object(gateway: Gateway) -> None:
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 10_000, b"9" * 10_000):
        error = refusal(gateway, 400, content=body)
        assert error["message"].startswith("body: expected a JSON object")


def test_long_pictures(start: Any, picture: bytes) -> None:
    gateway = start(max_image_bytes=len(picture) - 1)
    error = refusal(gateway, 400, json=request(picture, POINT))
    assert error["code"] == "image" and error["message"].endswith("reduce the picture")


def test_what_is_beside_the_picture_is_short(gateway: Gateway, picture: bytes) -> None:
    """Few bytes of it would become much memory."""
    content = {**request(picture, POINT), "more": [{}] * 40_000}
    error = refusal(gateway, 413, json=content)
    assert error["code"] == "too-large"
    assert error["message"].startswith("body: expected at most 65,536 bytes beside image")
    # A picture elsewhere is none.
    elsewhere = {"more": {"image": "AAAA"}, **request(picture, POINT)}
    assert refusal(gateway, 400, json=elsewhere)["code"] == "image"


def test_the_key_is_in_the_header_token(start: Any, picture: bytes) -> None:
    keys = KeyRing([("alice", hashlib.sha256(b"secret").digest())])
    gateway = start(keys=keys)
    content = request(picture, POINT)
    error = refusal(gateway, 401, json=content)
    assert error["message"] == "Token: expected a key that is known, got none"
    error = refusal(gateway, 401, json=content, headers={"token": "another"})
    assert error["message"].endswith("got another")
    assert refusal(gateway, 401, json=content, headers={"authorization": "Bearer secret"})
    assert shapes(gateway, content, headers={"token": "secret"})
    assert gateway.http.get("/x-anylabeling/health").status_code == 200
    assert gateway.http.get("/x-anylabeling/v1/models").status_code == 401


def test_other_addresses_and_methods(gateway: Gateway) -> None:
    for method, path, status in (("GET", "/x", 404), ("GET", "/v1/predict", 405)):
        answer = gateway.http.request(method, f"/x-anylabeling{path}")
        assert (answer.status_code, answer.json()["success"]) == (status, False)


def test_a_server_that_is_away(start: Any, picture: bytes) -> None:
    gateway = start(url="localhost:1")
    error = refusal(gateway, 503, json=request(picture, POINT))
    assert error["code"] == "unavailable"
