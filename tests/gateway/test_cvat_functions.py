"""What CVAT asks Nuclio's dashboard, by the library that it asks with, and what it makes of it."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from running_gateway import Gateway

from slimsam_client import SlimSam
from slimsam_client.testing import FakeServer
from slimsam_gateway import cvat as cvat_module
from slimsam_gateway.keys import KeyRing

CLICK = {"pos_points": [[90, 90]], "neg_points": [], "obj_bbox": None}
BOX = {"pos_points": [], "neg_points": [], "obj_bbox": [[40, 40], [140, 140]]}


@pytest.fixture
def cvat(start: Any) -> Gateway:
    gateway: Gateway = start(cvat=True)
    return gateway


def invoke(
    gateway: Gateway, payload: Any, name: str = "slimsam", user: str = ""
) -> requests.Response:
    """Ask as its LambdaGateway does; the host of the settings is part of the address alone."""
    host, port = gateway.address
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            f"http://{user}{host}:{port}/api/function_invocations",
            headers={
                "x-nuclio-project-name": "cvat",
                "x-nuclio-function-namespace": "nuclio",
                "x-nuclio-invoke-via": "domain-name",
                "x-nuclio-function-name": name,
                "x-nuclio-path": "/",
            },
            json=payload,
            timeout=60,
        )


def with_picture(picture: bytes, **payload: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(picture).decode(), **payload}


def test_they_are_off_unless_asked_for(gateway: Gateway) -> None:
    assert gateway.http.get("/api/functions").status_code == 404
    assert invoke(gateway, {}).status_code == 404


def test_the_functions_are_as_cvat_reads_them(cvat: Gateway) -> None:
    functions = cvat.http.get("/api/functions").json()
    for name, function in functions.items():
        assert function["metadata"]["name"] == name
        assert function["spec"]["description"] and function["status"]["state"] == "ready"
        assert all(isinstance(one, str) for one in function["metadata"]["annotations"].values())
        assert cvat.http.get(f"/api/functions/{name}").json() == function
    # The page has a decoder of its own for the functions of another name.
    assert functions.keys() == {"slimsam", "slimsam-everything"}
    clicks, everything = (one["metadata"]["annotations"] for one in functions.values())
    assert clicks["type"] == "interactor" and int(clicks["version"]) == 2
    assert int(clicks["min_pos_points"]) == int(clicks["min_neg_points"]) == 0
    assert everything["type"] == "detector"
    assert [label["name"] for label in json.loads(everything["spec"])] == ["object"]
    assert cvat.problem("GET", "/api/functions/other")["status"] == 404


@pytest.mark.parametrize(
    ("payload", "prompt"),
    [
        (CLICK, {"points": [[90, 90]]}),
        (
            {**CLICK, "neg_points": [[20, 20.5]], "obj_bbox": [], "threshold": 0.5},
            {"points": [[90, 90], [20, 20.5]], "labels": [1, 0]},
        ),
        (BOX, {"box": [40, 40, 140, 140]}),
        (
            {**CLICK, "obj_bbox": [[140, 140], [40, 40]]},
            {"points": [[90, 90]], "box": [40, 40, 140, 140]},
        ),
    ],
)
def test_the_mask_is_that_of_the_sdk(
    cvat: Gateway, server: FakeServer, picture: bytes, payload: Any, prompt: Any
) -> None:
    answer = invoke(cvat, with_picture(picture, **payload))
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"mask"}
    found = np.array(answer.json()["mask"])
    with SlimSam(server.url) as sam:
        expected = sam.predict(sam.embed(picture), **prompt).best_masks
    assert expected.any() and set(np.unique(found)) == {0, 1}
    np.testing.assert_array_equal(found == 1, expected)


def decoded(mask: list[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    *pixels, x0, y0, x1, y1 = mask
    whole = np.zeros(size, np.bool_)
    whole[y0 : y1 + 1, x0 : x1 + 1] = np.reshape(pixels, (y1 - y0 + 1, x1 - x0 + 1))
    return whole


def test_everything_is_that_of_the_sdk(cvat: Gateway, server: FakeServer, picture: bytes) -> None:
    answer = invoke(cvat, with_picture(picture), "slimsam-everything")
    assert answer.status_code == 200, answer.text
    with SlimSam(server.url) as sam:
        expected = sam.generate(picture)
    assert len(expected) > 2
    for one, record in zip(answer.json(), expected, strict=True):
        assert (one["label"], one["type"]) == ("object", "mask")
        assert float(one["confidence"]) == record.predicted_iou
        found = decoded(one["mask"], record.segmentation.shape)
        np.testing.assert_array_equal(found, record.segmentation)


def test_everything_has_an_end_in_bytes(
    cvat: Gateway, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = invoke(cvat, with_picture(picture), "slimsam-everything")
    size = len(whole.content) - len("[]") - (len(whole.json()) - 1)
    monkeypatch.setattr(cvat_module, "MAX_DETECTION_BYTES", size)
    assert invoke(cvat, with_picture(picture), "slimsam-everything").content == whole.content
    monkeypatch.setattr(cvat_module, "MAX_DETECTION_BYTES", size - 1)
    answer = invoke(cvat, with_picture(picture), "slimsam-everything")
    assert answer.status_code == 413 and "reduce the picture" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pos_points": []}, "expected a point or a box, got none"),
        ({"pos_points": [[1]]}, "pos_points: expected a list of [x, y], got [[1]]"),
        ({"neg_points": [["1", 2]]}, "neg_points: expected a list of [x, y]"),
        ({"neg_points": 5}, "neg_points: expected a list of [x, y], got 5"),
        ({"obj_bbox": [[1, 2]]}, "obj_bbox: expected two corners, got 1"),
        ({"image": None}, "image: expected a picture in base64"),
        ({"image": "bm8gcGljdHVyZQ=="}, "image bytes: expected an image"),
        ({"pos_points": [[9000, 1]]}, "point 0: expected (x, y) within"),
    ],
)
def test_payloads_that_are_wrong(cvat: Gateway, picture: bytes, change: Any, said: str) -> None:
    answer = invoke(cvat, with_picture(picture, **{**CLICK, **change}))
    assert answer.status_code == 400 and said in answer.json()["detail"]


def test_functions_that_are_not_there(cvat: Gateway, picture: bytes) -> None:
    answer = invoke(cvat, with_picture(picture, **CLICK), "pth-facebookresearch-sam-vit-h")
    assert answer.status_code == 404
    assert "expected slimsam, slimsam-everything" in answer.json()["detail"]


def test_a_picture_that_is_too_long(start: Any, picture: bytes) -> None:
    gateway = start(cvat=True, max_image_bytes=len(picture) - 1)
    answer = invoke(gateway, with_picture(picture, **CLICK))
    assert answer.status_code == 400 and "reduce the picture" in answer.json()["detail"]
    answer = invoke(gateway, with_picture(picture, **CLICK, more=" " * 200_000))
    assert answer.status_code == 413


def test_the_key_is_the_password_of_the_address(start: Any, picture: bytes) -> None:
    keys = KeyRing([("cvat", hashlib.sha256(b"secret").digest())])
    gateway = start(cvat=True, keys=keys)
    payload = with_picture(picture, **CLICK)
    assert invoke(gateway, payload).status_code == 401
    assert invoke(gateway, payload, user="cvat:other@").status_code == 401
    answer = invoke(gateway, payload, user="cvat:secret@")
    assert answer.status_code == 200
    assert gateway.log.line_of(answer.headers["x-request-id"])["key"] == "cvat"
    for header in ("Basic x", "Basic /w==", "Basic", "Bearer secret", ""):
        answer = gateway.http.get("/api/functions", headers={"authorization": header})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
