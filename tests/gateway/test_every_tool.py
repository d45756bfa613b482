"""The same click, by the requests of every tool: one mask, which is the SDK's."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import brush_stream
import numpy as np
import pytest
from numpy.typing import NDArray
from picture_site import Site, picture_site
from PIL import Image
from running_gateway import Gateway, encoded, serving, turned
from skimage import data

from slimsam_client import SlimSam, load_image
from slimsam_client.encodings import from_polygons, from_rle
from slimsam_gateway import GatewaySettings
from slimsam_gateway.label_studio_settings import LabelStudioSettings
from slimsam_server import EmbeddedServer

CONFIGURATION = (
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image"/></View>'
)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Click:
    """What was clicked, in pixels.

    Attributes:
        points: x, y, and whether it is of the object.
        box: x0, y0, x1, y1.
    """

    points: tuple[tuple[int, int, bool], ...] = ()
    box: tuple[int, int, int, int] | None = None

    @property
    def prompt(self) -> dict[str, Any]:
        prompt: dict[str, Any] = {}
        if self.points:
            prompt["points"] = [[x, y] for x, y, _ in self.points]
            prompt["labels"] = [int(positive) for *_, positive in self.points]
        if self.box is not None:
            prompt["box"] = list(self.box)
        return prompt

    def of(self, positive: bool) -> list[list[int]]:
        return [[x, y] for x, y, one in self.points if one is positive]

    @property
    def corners(self) -> list[list[int]] | None:
        return None if self.box is None else [list(self.box[:2]), list(self.box[2:])]


CLICKS = {
    "a point": Click(((150, 180, True),)),
    "two points": Click(((150, 180, True), (20, 20, False))),
    "a box": Click(box=(60, 20, 280, 290)),
}


@pytest.fixture(scope="module")
def studio() -> Iterator[Site]:
    with picture_site() as site:
        yield site


@pytest.fixture(scope="module")
def real(demo_server: EmbeddedServer, studio: Site) -> Iterator[Gateway]:
    settings = LabelStudioSettings(studio.url, "token")
    url = demo_server.grpc_url
    with serving(GatewaySettings(url, timeout=120, cvat=True, label_studio=settings)) as gateway:
        gateway.http.timeout = 300
        yield gateway


@pytest.fixture(scope="module")
def sam(demo_server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(demo_server.grpc_url, timeout=300) as client:
        yield client


def asked(gateway: Gateway, path: str, content: Any, **headers: str) -> Any:
    answer = gateway.http.post(path, json=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def by_the_page(gateway: Gateway, content: bytes, click: Click) -> Mask:
    """It asks for all candidates, and shows the best one."""
    kept = gateway.http.post("/v1/images", content=content).json()
    more = {"multimask_output": True, "format": "rle", "masks": "all"}
    answer = asked(gateway, f"/v1/images/{kept['id']}/masks", {**click.prompt, **more})
    best = int(np.argmax(answer["scores"][0]))
    rle = {"size": [kept["height"], kept["width"]], "counts": answer["masks"][0][best]}
    return from_rle(rle)  # type: ignore[arg-type]


def by_label_studio(gateway: Gateway, studio: Site, content: bytes, click: Click) -> Mask:
    """Its regions are in percent of the picture's sides."""
    size = load_image(content).shape[:2]
    studio.serve("/data/upload/1/photo", content, '"it"', Content_Type="image/jpeg")

    def region(kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
        sides = {"original_height": size[0], "original_width": size[1], "image_rotation": 0}
        return {"type": kind, "value": {**value, kind: ["It"]}, "to_name": "image", **sides, **more}

    across, down = 100 / size[1], 100 / size[0]
    regions = [
        region("keypointlabels", {"x": x * across, "y": y * down}, is_positive=positive)
        for x, y, positive in click.points
    ]
    if click.box is not None:
        x0, y0, x1, y1 = click.box
        sides = {"width": (x1 - x0) * across, "height": (y1 - y0) * down, "rotation": 0}
        regions.append(region("rectanglelabels", {"x": x0 * across, "y": y0 * down, **sides}))
    answer = asked(
        gateway,
        "/label-studio/predict",
        {
            "tasks": [{"id": 1, "data": {"image": "/data/upload/1/photo"}}],
            "label_config": CONFIGURATION,
            "params": {"context": {"result": regions}},
        },
    )
    [[result]] = [one["result"] for one in answer["results"]]
    return brush_stream.read(result["value"]["rle"], size)


def by_the_agent_of_cvat(function: Any, content: bytes, click: Click) -> Mask:
    """CVAT turns pictures itself, and gives its agent pixels."""
    from cvat_sdk.masks import decode_mask

    picture = Image.fromarray(load_image(content))
    kept = function.preprocess_image(None, picture)
    prompts = SimpleNamespace(
        pos_points=click.of(True), neg_points=click.of(False), bounding_box=click.corners
    )
    [shape] = function.detect(None, kept, prompts)
    sides = {"image_width": picture.width, "image_height": picture.height}
    return np.asarray(decode_mask(shape.points, **sides)).astype(bool)


def by_cvat(gateway: Gateway, content: bytes, click: Click) -> Mask:
    """It asks Nuclio with a file that it has turned."""
    payload = {
        "image": base64.b64encode(encoded(Image.fromarray(load_image(content)))).decode(),
        "pos_points": click.of(True),
        "neg_points": click.of(False),
        "obj_bbox": click.corners,
    }
    headers = {"x-nuclio-function-name": "slimsam"}
    answer = asked(gateway, "/api/function_invocations", payload, **headers)
    return np.array(answer["mask"]) == 1


def by_x_anylabeling(gateway: Gateway, content: bytes, click: Click) -> Mask:
    marks: list[dict[str, Any]] = [
        {"type": "point", "data": [x, y], "label": int(positive)} for x, y, positive in click.points
    ]
    if click.box is not None:
        marks.append({"type": "rectangle", "data": list(click.box)})
    image = "data:image/png;base64," + base64.b64encode(content).decode()
    request = {"model": "slimsam", "image": image, "params": {"marks": marks}}
    answer = asked(gateway, "/x-anylabeling/v1/predict", request)
    rings = [[shape["points"][:-1]] for shape in answer["data"]["shapes"]]
    return from_polygons(rings, load_image(content).shape[:2])


PICTURES = {
    "a photo": lambda: encoded(Image.fromarray(data.coffee()), "JPEG", quality=92),
    "a turned JPEG": turned,
}


@pytest.mark.parametrize("name", PICTURES)
def test_masks_are_the_same_whoever_asks(
    real: Gateway, studio: Site, sam: SlimSam, load_example: Any, name: str
) -> None:
    content = PICTURES[name]()
    embedding = sam.embed(content)
    for click in CLICKS.values():
        expected = sam.predict(embedding, **click.prompt).best_masks
        assert expected.any()
        found = [
            by_the_page(real, content, click),
            by_label_studio(real, studio, content, click),
            by_cvat(real, content, click),
        ]
        if sys.version_info >= (3, 11):  # as CVAT's SDK needs
            function = load_example("cvat_function.py").Clicks(sam)
            found.append(by_the_agent_of_cvat(function, content, click))
        for mask in found:
            np.testing.assert_array_equal(mask, expected)
        polygons = by_x_anylabeling(real, content, click)
        assert (polygons & expected).sum() / (polygons | expected).sum() >= 0.99
