"""Label Studio's requests, as its editor sent them, and the brush masks that they get."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brush_stream
import numpy as np
import pytest
from numpy.typing import NDArray
from picture_site import Site, picture_site
from PIL import Image
from running_gateway import PATIENCE, Gateway, drawn, encoded, kind, posting, wait_for

from slimsam_client import SettingsError, SlimSam
from slimsam_client.contract import CLICK, IMAGE
from slimsam_client.testing import FakeServer
from slimsam_gateway.keys import KeyRing
from slimsam_gateway.label_studio.endpoints import VERSION
from slimsam_gateway.label_studio.labeling import Labeling
from slimsam_gateway.label_studio.memo import Known, Memo
from slimsam_gateway.label_studio_settings import LabelStudioSettings, read_token

from .conftest import Start

ROOT = Path(__file__).parents[2]
CONTEXTS = json.loads(Path(__file__).with_name("label_studio_contexts.json").read_text())
"""What its editor sent of a picture of 640 x 400: a task that is opened, a click, an alt-click
after it, and a box."""
SIZE = (400, 640)
[CONFIGURATION] = re.findall(
    r"(?s)<View>.*?</View>", (ROOT / "docs/annotation.md").read_text("utf-8")
)
TOKEN = "the-token-of-an-account"
PATH = "/data/upload/2/pic.png"


@pytest.fixture
def studio() -> Iterator[Site]:
    with picture_site() as site:
        yield site


@pytest.fixture
def gateway(start: Start, studio: Site) -> Gateway:
    return start(label_studio=LabelStudioSettings(studio.url, TOKEN))


@pytest.fixture
def sam(server: FakeServer) -> Iterator[SlimSam]:
    with SlimSam(server.url) as client:
        yield client


@pytest.fixture
def photo() -> bytes:
    return encoded(drawn().resize(SIZE[::-1]))


def request(context: Any, address: str = PATH, configuration: str = CONFIGURATION) -> Any:
    """A request as Label Studio makes it around a context."""
    return {
        "tasks": [{"id": 2, "data": {"image": address}, "annotations": [], "predictions": []}],
        "model_version": None,
        "project": "2.1795637768",
        "label_config": configuration,
        "params": {"login": None, "password": None, "context": context},
    }


def predicted(gateway: Gateway, content: Any) -> dict[str, Any]:
    answer = gateway.http.post("/label-studio/predict", json=content)
    assert answer.status_code == 200, answer.text
    [result] = answer.json()["results"]
    assert set(result) == {"result", "score", "model_version"}
    assert result["model_version"] == VERSION
    return dict(result)


def mask_of(result: dict[str, Any], size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    [region] = result["result"]
    assert region["type"] == "brushlabels"
    assert (region["from_name"], region["to_name"]) == ("brush", "image")
    assert (region["original_height"], region["original_width"]) == size
    assert region["image_rotation"] == 0
    assert region["score"] == result["score"]
    value = region["value"]
    assert set(value) == {"format", "rle", "brushlabels"}
    assert (value["format"], value["brushlabels"]) == ("rle", ["Thing"])
    return brush_stream.read(value["rle"], size)


def pixels(region: dict[str, Any], size: tuple[int, int] = SIZE) -> tuple[float, float]:
    value = region["value"]
    return value["x"] * size[1] / 100, value["y"] * size[0] / 100


def test_what_it_asks_for_before_clicks(gateway: Gateway, server: FakeServer) -> None:
    for path in ("/label-studio", "/label-studio/", "/label-studio/health"):
        answer = gateway.http.get(path)
        assert (answer.status_code, answer.json()["status"]) == (200, "UP")
    setup = {
        "project": "2.1795637768",
        "schema": CONFIGURATION,
        "hostname": "http://127.0.0.1:8181",
        "access_token": "of-a-user",
        "extra_params": None,
    }
    answer = gateway.http.post("/label-studio/setup", json=setup)
    assert (answer.status_code, answer.json()) == (200, {"model_version": VERSION})
    answer = gateway.http.get("/label-studio/versions")
    assert (answer.status_code, answer.json()) == (200, {"versions": [VERSION]})
    answer = gateway.http.post("/label-studio/webhook", json={"action": "PROJECT_UPDATED"})
    assert answer.status_code == 201
    assert server.requests == [] and "of-a-user" not in gateway.log.text


def test_it_is_off_unless_it_is_configured(start: Start) -> None:
    for path in ("health", "predict", "webhook"):
        assert kind(start().problem("POST", f"/label-studio/{path}")) == "not-found"


@pytest.mark.parametrize("context", [CONTEXTS["opened"], {}, {"result": []}])
def test_nothing_where_nothing_was_clicked(
    gateway: Gateway, studio: Site, server: FakeServer, context: Any
) -> None:
    answer = gateway.http.post("/label-studio/predict", json=request(context))
    assert (answer.status_code, answer.json()) == (200, {"results": []})
    assert studio.asked == [] and server.requests == []


def test_a_click_and_an_alt_click(
    gateway: Gateway, studio: Site, sam: SlimSam, photo: bytes
) -> None:
    studio.serve(PATH, photo)
    embedding = sam.embed(photo)
    for name, labels in (("click", [1]), ("alt_click", [1, 0])):
        context = CONTEXTS[name]
        expected = sam.predict(embedding, list(map(pixels, context["result"])), labels)
        result = predicted(gateway, request(context))
        np.testing.assert_array_equal(mask_of(result), expected.best_masks)
        assert result["score"] == expected.best_scores
    for _, headers in studio.asked:
        assert headers["authorization"] == f"Token {TOKEN}"
    assert TOKEN not in gateway.log.text and PATH not in gateway.log.text


def corners(region: dict[str, Any]) -> list[float]:
    x, y = pixels(region)
    value = region["value"]
    return [x, y, x + value["width"] * SIZE[1] / 100, y + value["height"] * SIZE[0] / 100]


def test_a_box_and_points_with_it(
    gateway: Gateway, studio: Site, sam: SlimSam, photo: bytes
) -> None:
    studio.serve(PATH, photo)
    embedding = sam.embed(photo)
    [box] = CONTEXTS["box"]["result"]
    expected = sam.predict(embedding, box=corners(box))
    result = predicted(gateway, request(CONTEXTS["box"]))
    np.testing.assert_array_equal(mask_of(result), expected.best_masks)

    points = CONTEXTS["alt_click"]["result"]
    both = {"result": [points[0], box, points[1]]}
    expected = sam.predict(embedding, list(map(pixels, points)), [1, 0], corners(box))
    np.testing.assert_array_equal(mask_of(predicted(gateway, request(both))), expected.best_masks)

    earlier = copy.deepcopy(box)
    earlier["value"]["x"] = 1
    result = predicted(gateway, request({"result": [earlier, box]}))
    expected = sam.predict(embedding, box=corners(box))
    np.testing.assert_array_equal(mask_of(result), expected.best_masks)


def test_a_box_that_is_turned_or_leaves_the_picture(
    gateway: Gateway, studio: Site, sam: SlimSam, photo: bytes
) -> None:
    """Label Studio turns a box about its upper left corner; what encloses it is asked for."""
    studio.serve(PATH, photo)
    embedding = sam.embed(photo)
    context = copy.deepcopy(CONTEXTS["box"])
    value = context["result"][0]["value"]
    value |= {"x": 50, "y": 25, "width": 25, "height": 25, "rotation": 90}
    expected = sam.predict(embedding, box=[220, 100, 320, 260])
    np.testing.assert_array_equal(
        mask_of(predicted(gateway, request(context))), expected.best_masks
    )
    value |= {"x": -5, "y": 20, "width": 50, "height": 90, "rotation": 0}
    expected = sam.predict(embedding, box=[0, 80, 288, 400])
    np.testing.assert_array_equal(
        mask_of(predicted(gateway, request(context))), expected.best_masks
    )


def test_a_picture_with_an_orientation(
    gateway: Gateway, studio: Site, sam: SlimSam, photo: bytes
) -> None:
    """The editor shows it upright, and so are its coordinates and its size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(drawn().resize(SIZE[::-1]), "JPEG", exif=exif)
    studio.serve(PATH, turned)
    context = copy.deepcopy(CONTEXTS["click"])
    [region] = context["result"]
    region |= {"original_width": 400, "original_height": 640}
    size = (640, 400)
    expected = sam.predict(sam.embed(turned), [pixels(region, size)])
    assert expected.best_masks.shape == size
    mask = mask_of(predicted(gateway, request(context)), size)
    np.testing.assert_array_equal(mask, expected.best_masks)
    # As a browser that shows it as the file has it.
    region |= {"original_width": 640, "original_height": 400}
    problem = gateway.problem("POST", "/label-studio/predict", json=request(context))
    assert kind(problem) == "refused" and problem["detail"].startswith("original_size: expected")


def test_a_picture_that_storage_reduced(gateway: Gateway, studio: Site, sam: SlimSam) -> None:
    large = drawn().resize((1280, 800))
    studio.serve(PATH, encoded(large.resize((1024, 640))), '"reduced"')
    context = copy.deepcopy(CONTEXTS["click"])
    [region] = context["result"]
    region |= {"original_width": 1280, "original_height": 800}
    mask = mask_of(predicted(gateway, request(context)), (800, 1280))
    x, y = pixels(region, (800, 1280))
    assert mask[int(y), int(x)]
    again = mask_of(predicted(gateway, request(context)), (800, 1280))
    np.testing.assert_array_equal(again, mask)


def uploads(server: FakeServer) -> int:
    return [one.model for one in server.requests].count(IMAGE.name)


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', None])
def test_a_picture_is_sent_once(
    gateway: Gateway, studio: Site, server: FakeServer, photo: bytes, etag: str | None
) -> None:
    studio.serve(PATH, photo, etag)
    for name in ("click", "alt_click", "box"):
        predicted(gateway, request(CONTEXTS[name]))
    assert uploads(server) == 1
    assert [headers.get("if-none-match") for _, headers in studio.asked] == [None, etag, etag]


def test_a_picture_that_changed(
    gateway: Gateway, studio: Site, server: FakeServer, sam: SlimSam, photo: bytes
) -> None:
    studio.serve(PATH, photo, '"one"')
    predicted(gateway, request(CONTEXTS["click"]))
    other = encoded(Image.effect_noise(SIZE[::-1], 80).convert("RGB"))
    studio.serve(PATH, other, '"two"')
    expected = sam.predict(sam.embed(other), list(map(pixels, CONTEXTS["click"]["result"])))
    result = predicted(gateway, request(CONTEXTS["click"]))
    np.testing.assert_array_equal(mask_of(result), expected.best_masks)
    assert uploads(server) == 2


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_picture_that_is_kept_no_longer_is_sent_once_more(
    gateway: Gateway, studio: Site, server: FakeServer, photo: bytes, etag: str | None
) -> None:
    studio.serve(PATH, photo, etag)
    before = predicted(gateway, request(CONTEXTS["click"]))
    server.forget_uploads()
    assert predicted(gateway, request(CONTEXTS["click"])) == before
    assert uploads(server) == 2
    assert [one.model for one in server.requests].count(CLICK.name) == 3


def test_a_picture_of_another_origin_has_no_token(start: Start, studio: Site, photo: bytes) -> None:
    with picture_site() as storage:
        storage.serve("/pic.png?sig=secret", photo)
        settings = LabelStudioSettings(studio.url, TOKEN, (), (storage.url,))
        gateway = start(label_studio=settings)
        studio.redirect("/tasks/2/presign/?fileuri=czM6", f"{storage.url}/pic.png?sig=secret")
        for address in ("/tasks/2/presign/?fileuri=czM6", f"{storage.url}/pic.png?sig=secret"):
            predicted(gateway, request(CONTEXTS["click"], address))
        assert len(storage.asked) == 2
        assert TOKEN not in str(storage.asked)
        problem = start(label_studio=LabelStudioSettings(studio.url, TOKEN)).problem(
            "POST",
            "/label-studio/predict",
            json=request(CONTEXTS["click"], f"{storage.url}/pic.png?sig=secret"),
        )
        assert kind(problem) == "picture-source" and "secret" not in problem["detail"]
        assert len(storage.asked) == 2


def test_a_picture_that_is_none(gateway: Gateway, studio: Site) -> None:
    problem = gateway.problem("POST", "/label-studio/predict", json=request(CONTEXTS["click"]))
    assert kind(problem) == "picture-fetch" and "got 404" in problem["detail"]
    wait_for(lambda: "got 404" in gateway.log.text)  # where the operator sees it
    studio.serve(PATH, b"no picture")
    problem = gateway.problem("POST", "/label-studio/predict", json=request(CONTEXTS["click"]))
    assert kind(problem) == "refused" and "expected an image" in problem["detail"]


def changed(path: str, value: Any) -> Any:
    """The request of a click with one value changed."""
    content = request(copy.deepcopy(CONTEXTS["click"]))
    *way, last = [int(one) if one.isdecimal() else one for one in path.split(".")]
    place = content
    for one in way:
        place = place[one]
    place[last] = value
    return content


REGION = "params.context.result.0"
WRONG = {
    "tasks": ["text", [], [{}, {}], [5]],
    "tasks.0.data": [None, {}, {"image": 5}],
    "label_config": [
        None,
        "no XML",
        "<View>",
        "<View/>",
        '<View><Image name="image" value="$image"/></View>',
        '<View><Image name="image"/><BrushLabels name="b" toName="image"/></View>',
        '<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>',
        f"<View>{' ' * 2**20}</View>",
    ],
    "params": ["text"],
    "params.context": ["text"],
    "params.context.result": ["text", [5]],
    f"{REGION}.value": [None, {}],
    f"{REGION}.value.x": [None, "1", True, 1e300, 10**400],
    f"{REGION}.value.keypointlabels": [None, [], [5]],
    f"{REGION}.is_positive": ["yes", 5],
    f"{REGION}.to_name": [None, "another"],
    f"{REGION}.original_width": [None, 0, 10**9, "640", True],
    f"{REGION}.image_rotation": [90],
}


@pytest.mark.parametrize("path", WRONG)
def test_requests_that_cannot_be_answered(
    gateway: Gateway, studio: Site, server: FakeServer, path: str
) -> None:
    for value in WRONG[path]:
        content = json.dumps(changed(path, value))
        problem = gateway.problem("POST", "/label-studio/predict", content=content)
        assert kind(problem) == "label-studio", (value, problem)
        assert ": expected " in problem["detail"] and ", got " in problem["detail"]
    assert studio.asked == [] and server.requests == []


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"\xff", b"[" * 100_000, b'{"tasks"'])
def test_bodies_that_are_none(gateway: Gateway, body: bytes) -> None:
    problem = gateway.problem("POST", "/label-studio/predict", content=body)
    assert kind(problem) == "label-studio"


def test_a_body_that_is_too_long(gateway: Gateway) -> None:
    problem = gateway.problem("POST", "/label-studio/predict", content=bytes(2**24 + 1))
    assert kind(problem) == "too-large"


def test_keys_come_as_a_password(start: Start, studio: Site, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"alice {hashlib.sha256(b'a-key').hexdigest()}\n")
    settings = LabelStudioSettings(studio.url, TOKEN)
    gateway = start(keys=KeyRing.read(path), label_studio=settings)

    def asked(address: str, token: str) -> int:
        headers = {"authorization": f"Basic {token}"}
        return gateway.http.get(address, headers=headers).status_code

    right = base64.b64encode(b"anybody:a-key").decode()
    assert asked("/label-studio/health", right) == 200
    for wrong in (base64.b64encode(b"a-key:another").decode(), "a-key", "\\"):
        assert asked("/label-studio/health", wrong) == 401
    assert asked("/v1/images", right) == 401
    assert gateway.http.post("/label-studio/predict").status_code == 401
    assert gateway.http.post("/label-studio/webhook").status_code == 201


def test_the_configuration_of_the_page() -> None:
    """What clicks need, as far as a configuration says it."""
    labeling = Labeling.read(CONFIGURATION)
    assert labeling.field_of("image") == "image"
    assert labeling.brush_of("image") == "brush"
    tags = dict(re.findall(r"<(\w+Labels)([^>]*)>", CONFIGURATION))
    assert 'smart="false"' in tags["BrushLabels"]
    for tag in ("KeyPointLabels", "RectangleLabels"):
        assert 'smart="true"' in tags[tag] and 'smartOnly="true"' in tags[tag]
    for name in ("click", "box"):
        [region] = CONTEXTS[name]["result"]
        assert f'name="{region["from_name"]}"' in CONFIGURATION
    assert len(re.findall(r'<Label value="Thing"', CONFIGURATION)) == 3


def test_the_memo_is_bounded() -> None:
    memo = Memo(2)
    known = {name: Known(None, name.encode(), None) for name in "abc"}  # type: ignore[arg-type]
    memo.put("a", known["a"])
    memo.put("b", known["b"])
    assert memo.get("a") is known["a"]
    memo.put("c", known["c"])
    assert (memo.get("a"), memo.get("b"), memo.get("c")) == (known["a"], None, known["c"])


def test_settings_are_checked(tmp_path: Path) -> None:
    for url in ("labels.example", "https://labels.example/ls", "ftp://labels.example"):
        with pytest.raises(SettingsError, match="label_studio: expected an origin"):
            LabelStudioSettings(url, TOKEN)
    for origins in (("*",), ("https://*.example",), ("bucket",)):
        with pytest.raises(SettingsError, match="picture_origins: expected"):
            LabelStudioSettings("https://labels.example", TOKEN, origins)
        with pytest.raises(SettingsError, match="private_picture_origins: expected"):
            LabelStudioSettings("https://labels.example", TOKEN, (), origins)
    for token in ("", "two\nlines", "ü"):
        with pytest.raises(SettingsError, match="token: expected one line"):
            LabelStudioSettings("https://labels.example", token)
    assert TOKEN not in repr(LabelStudioSettings("https://labels.example", TOKEN))
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN
    with pytest.raises(SettingsError, match="expected a readable file"):
        read_token(tmp_path / "none")


def test_pictures_that_are_fetched_count_as_those_that_are_sent(
    start: Start, studio: Site, server: FakeServer, photo: bytes
) -> None:
    gateway = start(
        label_studio=LabelStudioSettings(studio.url, TOKEN), max_active_bytes=2**22, metrics=True
    )
    large = photo + bytes(3 * 2**20 - len(photo))
    studio.serve(PATH, large)
    server.delay(IMAGE.name, PATIENCE)
    head = posting("/v1/images?timeout=60", len(large))
    with gateway.send(head + large):
        wait_for(lambda: len(server.requests) == 1)
        problem = gateway.problem("POST", "/label-studio/predict", json=request(CONTEXTS["click"]))
        assert (problem["status"], kind(problem)) == (503, "full")
    active = "slimsam_gateway_active_bytes 0.0"
    wait_for(lambda: active in gateway.http.get("/metrics").text)
    predicted(gateway, request(CONTEXTS["click"]))
    wait_for(lambda: active in gateway.http.get("/metrics").text)
