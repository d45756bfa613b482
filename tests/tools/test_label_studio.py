"""The real Label Studio in chromium, with the gateway as its ML backend."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import launched
from label_studio_editor import Asked, Editor
from label_studio_process import LabelStudio, label_studio
from numpy.typing import NDArray
from PIL import Image
from running_gateway import Gateway, encoded, serving, turned, wait_for
from skimage import data
from starlette.datastructures import Headers

from slimsam_client import SlimSam, load_image
from slimsam_gateway import GatewaySettings
from slimsam_gateway.keys import KeyRing
from slimsam_gateway.label_studio_settings import LabelStudioSettings
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
SCENE = ROOT / "examples/scene.png"
DECODER = Path(__file__).parent / "brush_decoder.py"
KEY = "the key"
BASIC = {"auth_method": "BASIC_AUTH", "basic_auth_user": "anything", "basic_auth_pass": KEY}
Mask = NDArray[np.bool_]
Begin = Callable[..., tuple[Gateway, list[tuple[str, Headers]]]]


@pytest.fixture(scope="module")
def configuration() -> str:
    """What the documentation tells to paste."""
    found = re.search(r"```xml\n(.*?)```", (ROOT / "docs/annotation.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def studio(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    with label_studio(tools, tmp_path_factory.mktemp("label-studio")) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(studio: LabelStudio) -> dict[str, str]:
    return {"legacy": studio.allow_legacy_tokens(), "personal": studio.personal_token()}


@pytest.fixture(scope="module")
def begin(
    demo_server: EmbeddedServer,
    studio: LabelStudio,
    tokens: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Begin]:
    """Start a gateway that has a token; its requests are noted."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"studio {sha256(KEY.encode()).hexdigest()}\n")
    with ExitStack() as stack:

        def start(token: str) -> tuple[Gateway, list[tuple[str, Headers]]]:
            asked: list[tuple[str, Headers]] = []
            settings = GatewaySettings(
                url=demo_server.grpc_url,
                timeout=120,
                keys=KeyRing.read(keys),
                label_studio=LabelStudioSettings(studio.url, tokens[token]),
            )
            return stack.enter_context(serving(settings, asked)), asked

        yield start


@pytest.fixture(scope="module")
def editor(studio: LabelStudio) -> Iterator[Editor]:
    with launched() as browser:
        # Wide enough that nothing lies above the picture.
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        yield Editor(context.new_page(), studio)


def address(gateway: Gateway) -> str:
    return str(gateway.http.base_url).rstrip("/") + "/label-studio"


def decoded(tools: Path, results: list[dict[str, Any]]) -> list[Mask]:
    """Decode brush regions as Label Studio does."""
    brushes = [
        {
            "rle": one["value"]["rle"],
            "size": [one["original_height"], one["original_width"]],
        }
        for one in results
    ]
    python = tools / "label-studio/bin/python"
    done = subprocess.run(
        [python, DECODER], input=json.dumps(brushes), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    masks = []
    for brush, bits in zip(brushes, json.loads(done.stdout), strict=True):
        height, width = brush["size"]
        packed = np.frombuffer(base64.b64decode(bits), np.uint8)
        masks.append(np.unpackbits(packed, count=height * width).reshape(height, width) > 0)
    return masks


def prompt_of(asked: Asked) -> dict[str, Any]:
    """The prompt in pixels of what the editor has sent."""
    prompt: dict[str, Any] = {"points": [], "labels": []}
    for region in asked.regions:
        value = region["value"]
        across, down = region["original_width"] / 100, region["original_height"] / 100
        x, y = value["x"] * across, value["y"] * down
        if region["type"] == "keypointlabels":
            prompt["points"].append((x, y))
            prompt["labels"].append(int(region["is_positive"]))
        else:
            prompt["box"] = (x, y, x + value["width"] * across, y + value["height"] * down)
    return prompt if prompt["points"] else {"box": prompt["box"]}


PICTURES = {
    # A picture; a pixel of a thing, one that is none of it, and the corners of another thing's box;
    # by which token it is fetched.
    "scene.png": (SCENE.read_bytes, (760, 340), (840, 400), (410, 460, 680, 630), "legacy"),
    "turned.jpg": (turned, (110, 140), (250, 30), (20, 40, 280, 280), "personal"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_clicks_become_regions(
    studio: LabelStudio,
    begin: Begin,
    editor: Editor,
    sam: SlimSam,
    tools: Path,
    configuration: str,
    name: str,
) -> None:
    make, on, off, corners, token = PICTURES[name]
    gateway, requests = begin(token)
    content = make()
    height, width = load_image(content).shape[:2]
    project = studio.project(f"SlimSAM {token}", configuration)
    task = studio.upload(project, name, content)
    connected = studio.connect(project, address(gateway), **BASIC)
    assert (connected["state"], connected["error_message"]) == ("CO", None)

    editor.open(project, task)
    first = editor.click(*on)
    second = editor.click(*off, positive=False)
    editor.accept()
    box = editor.drag(*corners)
    editor.accept()
    editor.submit()

    # The editor shows the picture as large as the SDK says, so that clicks hit what is seen.
    for asked, clicked in ((first, on), (box, corners[:2])):
        region = asked.regions[0]
        assert (region["original_width"], region["original_height"]) == (width, height)
        pixel = region["value"]["x"] * width / 100, region["value"]["y"] * height / 100
        assert np.abs(np.subtract(pixel, clicked)).max() < 0.03 * width
    assert prompt_of(second)["labels"] == [1, 0]
    assert [region["type"] for region in box.regions] == ["rectanglelabels"]

    embedding = sam.embed(content)
    expected = [sam.predict(embedding, **prompt_of(one)).best_masks for one in (second, box)]
    assert all(mask.any() and not mask.all() for mask in expected)
    [exported] = studio.export(project)
    [annotation] = exported["annotations"]
    regions = [one for one in annotation["result"] if one["type"] == "brushlabels"]
    assert [one["value"]["brushlabels"] for one in regions] == [["Thing"]] * 2
    for mask, wanted in zip(decoded(tools, regions), expected, strict=True):
        np.testing.assert_array_equal(mask, wanted)
    [answered] = decoded(tools, first.result)
    prediction = sam.predict(embedding, **prompt_of(first))
    np.testing.assert_array_equal(answered, prediction.best_masks)

    # Every request has the key but those of the webhook, which the submitted annotation has called.
    wait_for(lambda: "POST /label-studio/webhook" in [path for path, _ in requests])
    expected_header = "Basic " + base64.b64encode(f"anything:{KEY}".encode()).decode()
    for path, headers in requests:
        wanted_header = None if path.endswith("/webhook") else expected_header
        assert headers.get("authorization") == wanted_header, path
    assert {path.removeprefix("POST ").removeprefix("GET ") for path, _ in requests} == {
        f"/label-studio/{part}" for part in ("health", "setup", "predict", "webhook")
    }


@pytest.mark.parametrize("token", ["legacy", "personal"])
def test_pictures_are_fetched_by_either_token(
    studio: LabelStudio,
    begin: Begin,
    sam: SlimSam,
    tools: Path,
    configuration: str,
    token: str,
) -> None:
    gateway, _ = begin(token)
    content = encoded(Image.fromarray(data.coffee()), "JPEG", quality=90)
    project = studio.project(f"Coffee {token}", configuration)
    task = studio.upload(project, "coffee.jpg", content)
    backend = studio.connect(project, address(gateway), **BASIC)
    point = {
        "type": "keypointlabels",
        "from_name": "point",
        "to_name": "image",
        "original_width": 600,
        "original_height": 400,
        "image_rotation": 0,
        "is_positive": True,
        "value": {"x": 50, "y": 45, "width": 0.3, "keypointlabels": ["Thing"]},
    }
    answer = studio.ask(
        "POST",
        f"/api/ml/{backend['id']}/interactive-annotating",
        {"task": task, "context": {"result": [point]}},
    )
    [mask] = decoded(tools, answer["data"]["result"])
    expected = sam.predict(sam.embed(content), points=[(300, 180)]).best_masks
    np.testing.assert_array_equal(mask, expected)


def test_the_version_is_told(studio: LabelStudio, begin: Begin, configuration: str) -> None:
    """Nothing in the editor asks for it, but an address of Label Studio's API does."""
    gateway, requests = begin("legacy")
    project = studio.project("Versions", configuration)
    backend = studio.connect(project, address(gateway), **BASIC)
    versions = studio.ask("GET", f"/api/ml/{backend['id']}/versions")
    assert versions["versions"] == [backend["model_version"]]
    assert [path for path, _ in requests][-1] == "GET /label-studio/versions"


@pytest.mark.parametrize(
    "credentials", [{}, {**BASIC, "basic_auth_pass": "another"}, {**BASIC, "basic_auth_user": ""}]
)
def test_a_key_is_needed(
    studio: LabelStudio, begin: Begin, configuration: str, credentials: dict[str, str]
) -> None:
    """Without a user's name Label Studio sends no password either."""
    gateway, _ = begin("legacy")
    project = studio.project("No key", configuration)
    answer = studio.http.post(
        "/api/ml",
        json={"project": project, "url": address(gateway), "title": "SlimSAM", **credentials},
    )
    assert answer.status_code == 400
    assert "authentication parameters were either not provided or are incorrect" in answer.text
