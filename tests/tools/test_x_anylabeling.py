"""The real X-AnyLabeling's client of remote servers before the gateway."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from running_gateway import Gateway, encoded, serving, turned
from skimage import data

from slimsam_client import SlimSam, load_image
from slimsam_client.encodings import from_polygons
from slimsam_gateway import GatewaySettings
from slimsam_gateway.keys import KeyRing
from slimsam_server import EmbeddedServer

CLIENT = Path(__file__).parent / "x_anylabeling_client.py"
SCENE = Path(__file__).parents[2] / "examples/scene.png"
KEY = "the key"
Ask = Callable[..., Any]

POINT = {"type": "point", "data": [150, 180], "label": 1}
OTHER = {"type": "point", "data": [20, 20], "label": 0}
RECTANGLE = {"type": "rectangle", "data": [280, 290, 60, 20]}
CASES: list[tuple[list[Any], dict[str, Any]]] = [
    ([POINT], {"points": [[150, 180]]}),
    ([POINT, OTHER], {"points": [[150, 180], [20, 20]], "labels": [1, 0]}),
    ([RECTANGLE], {"box": [60, 20, 280, 290]}),
    ([RECTANGLE, POINT], {"box": [60, 20, 280, 290], "points": [[150, 180]]}),
]
PICTURES = {
    "the scene.png": SCENE.read_bytes,
    "a photo.webp": lambda: encoded(Image.fromarray(data.coffee()), "WEBP"),
    "a turned photo.jpg": turned,
}


@pytest.fixture(scope="module")
def gateway(
    demo_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"annotator {sha256(KEY.encode()).hexdigest()}\n")
    url = demo_server.grpc_url
    with serving(GatewaySettings(url=url, timeout=120, keys=KeyRing.read(keys))) as running:
        yield running


@pytest.fixture
def ask(tools: Path, gateway: Gateway, tmp_path: Path) -> Ask:
    """Have the tool ask for masks, as one who has clicked so."""

    def run(requests: list[dict[str, Any]], key: str = KEY) -> Any:
        url = f"{gateway.http.base_url}".rstrip("/") + "/x-anylabeling"
        content = {
            "settings": {"server_url": url, "api_key": key},
            "directory": str(tmp_path),
            "model": "slimsam",
            "requests": requests,
        }
        done = subprocess.run(
            [tools / "x-anylabeling/bin/python", CLIENT],
            env={**os.environ, "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"},
            input=json.dumps(content),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("name", PICTURES)
def test_its_polygons_are_the_masks_of_the_sdk(
    ask: Ask, sam: SlimSam, tmp_path: Path, name: str
) -> None:
    picture = tmp_path / name
    picture.write_bytes(PICTURES[name]())
    size = load_image(picture).shape[:2]
    request = {"picture": str(picture), "slider": None}
    answer = ask([{**request, "marks": marks} for marks, _ in CASES])
    assert answer["messages"] == []
    embedding = sam.embed(picture)
    for (_, prompt), found in zip(CASES, answer["answers"], strict=True):
        expected = sam.predict(embedding, **prompt)
        assert expected.best_masks.any()
        shapes = found["shapes"]
        # The tool keeps no corner that is the first one again, as the last one of ours is.
        mask = from_polygons([[shape["points"]] for shape in shapes], size)
        union = (mask | expected.best_masks).sum()
        assert (mask & expected.best_masks).sum() / union >= 0.99
        assert {shape["score"] for shape in shapes} == {float(expected.best_scores)}
        assert {shape["shape_type"] for shape in shapes} == {"polygon"}
        assert found["replace"] is False


def test_its_slider_of_the_masks_fineness(ask: Ask, sam: SlimSam) -> None:
    """From 1 to 100: as the tool counts, 10 is a factor of 0.001, and its ends 0.0001 and 0.01."""
    request = {"picture": str(SCENE), "marks": [POINT]}
    sliders = (None, 1, 10, 100)
    answer = ask([{**request, "slider": slider} for slider in sliders])
    factors = [one["factor"] for one in answer["answers"]]
    assert factors == pytest.approx([0.001, 0.0001, 0.001, 0.01])
    usual, fine, same, coarse = (
        sum(len(shape["points"]) for shape in one["shapes"]) for one in answer["answers"]
    )
    assert fine > usual == same > coarse


def test_it_sees_the_model_and_says_what_is_wrong(ask: Ask) -> None:
    answer = ask([{"picture": str(SCENE), "marks": [], "slider": None}])
    assert answer["models"].keys() == {"slimsam"}
    assert answer["answers"][0]["shapes"] == [] and answer["messages"] == []
    refused = ask([{"picture": str(SCENE), "marks": [POINT], "slider": None}], "another key")
    assert refused["models"] == {}
    [message] = refused["messages"]
    assert message.startswith("Remote server error: 401")
