"""Label Studio's requests before a real tritonserver, beside the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brush_stream
import numpy as np
import pytest
from picture_site import Site, picture_site
from PIL import Image
from running_gateway import Gateway, encoded, serving, turned
from skimage import data

from slimsam_client import SlimSam, load_image
from slimsam_gateway import GatewaySettings
from slimsam_gateway.label_studio_settings import LabelStudioSettings
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
CONFIGURATION = (
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image"/></View>'
)


@pytest.fixture(scope="module")
def studio() -> Iterator[Site]:
    with picture_site() as site:
        yield site


@pytest.fixture(scope="module")
def real(demo_server: EmbeddedServer, studio: Site) -> Iterator[Gateway]:
    settings = LabelStudioSettings(studio.url, "token")
    url = demo_server.grpc_url
    with serving(GatewaySettings(url=url, timeout=120, label_studio=settings)) as gateway:
        gateway.http.timeout = 300
        yield gateway


PICTURES = {
    "the scene": lambda: (ROOT / "examples/scene.png").read_bytes(),
    "a turned JPEG": turned,
    "a photo": lambda: encoded(Image.fromarray(data.coffee()), "WEBP"),
}
POINTS = ((37.5, 50.0, True), (5.25, 6.125, False))
BOX = (12.5, 6.25, 50.0, 75.0)


def region(kind: str, size: tuple[int, int], value: dict[str, Any], **more: Any) -> dict[str, Any]:
    height, width = size
    return {
        "type": kind,
        "value": {**value, kind: ["Thing"]},
        "original_height": height,
        "original_width": width,
        "image_rotation": 0,
        "to_name": "image",
        **more,
    }


@pytest.mark.parametrize("name", PICTURES)
def test_masks_are_those_of_the_sdk(
    real: Gateway, studio: Site, demo_server: EmbeddedServer, name: str
) -> None:
    content = PICTURES[name]()
    address = f"/data/{list(PICTURES).index(name)}"
    studio.serve(address, content, '"it"', Content_Type="application/octet-stream")
    height, width = size = load_image(content).shape[:2]
    points = [
        region("keypointlabels", size, {"x": x, "y": y, "width": 0.2}, is_positive=positive)
        for x, y, positive in POINTS
    ]
    sides = dict(zip(("x", "y", "width", "height"), BOX, strict=True))
    box = region("rectanglelabels", size, {**sides, "rotation": 0})
    scale = np.array([width, height]) / 100
    coords = [tuple(np.array(point[:2]) * scale) for point in POINTS]
    x, y, across, down = BOX
    corners = [*(np.array([x, y]) * scale), *(np.array([x + across, y + down]) * scale)]
    cases: list[tuple[list[Any], dict[str, Any]]] = [
        (points[:1], {"points": coords[:1]}),
        (points, {"points": coords, "labels": [1, 0]}),
        ([box], {"box": corners}),
        ([*points, box], {"points": coords, "labels": [1, 0], "box": corners}),
    ]
    with SlimSam(demo_server.grpc_url, timeout=300) as sam:
        embedding = sam.embed(content)
        for regions, prompt in cases:
            answer = real.http.post(
                "/label-studio/predict",
                json={
                    "tasks": [{"id": 1, "data": {"image": address}}],
                    "label_config": CONFIGURATION,
                    "params": {"context": {"result": regions}},
                },
            )
            assert answer.status_code == 200, answer.text
            [result] = answer.json()["results"]
            expected = sam.predict(embedding, **prompt)
            assert expected.best_masks.any()
            stream = result["result"][0]["value"]["rle"]
            np.testing.assert_array_equal(brush_stream.read(stream, size), expected.best_masks)
            assert result["score"] == expected.best_scores


def test_a_picture_that_is_kept_no_longer(real: Gateway, studio: Site) -> None:
    content = PICTURES["the scene"]()
    studio.serve("/data/forgotten", content, '"it"')
    height, width = load_image(content).shape[:2]
    point = region("keypointlabels", (height, width), {"x": 37.5, "y": 50.0}, is_positive=True)
    body = {
        "tasks": [{"id": 1, "data": {"image": "/data/forgotten"}}],
        "label_config": CONFIGURATION,
        "params": {"context": {"result": [point]}},
    }
    first = real.http.post("/label-studio/predict", json=body)
    image_id = real.upload(content)
    assert real.http.delete(f"/v1/images/{image_id}").status_code == 204
    again = real.http.post("/label-studio/predict", json=body)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    asked = [headers for path, headers in studio.asked if path == "/data/forgotten"]
    assert [headers.get("if-none-match") for headers in asked] == [None, '"it"', None]
