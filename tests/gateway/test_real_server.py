"""The gateway before a real tritonserver, beside the SDK."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from inference_counts import settled_counts
from numpy.typing import NDArray
from PIL import Image
from running_gateway import Gateway, encoded, kind, serving, turned
from skimage import data

from slimsam_client import GenerateSettings, MaskRecord, SlimSam, UploadedImage, load_image
from slimsam_client.contract import ENCODER
from slimsam_client.encodings import from_polygons, from_rle, to_box
from slimsam_gateway import GatewaySettings
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
PROMPTS = (
    {"points": [[150, 180]]},
    {"points": [[150, 180], [20, 20]], "labels": [1, 0]},
    {"box": [60, 20, 280, 290], "multimask_output": False},
    {"box": [[60, 20, 280, 290], [0, 0, 90, 80]]},
)


@pytest.fixture(scope="module")
def real(demo_server: EmbeddedServer) -> Iterator[Gateway]:
    with serving(GatewaySettings(url=demo_server.grpc_url, timeout=120, cvat=True)) as gateway:
        gateway.http.timeout = 300
        yield gateway


@pytest.fixture
def sam(demo_server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(demo_server.grpc_url, timeout=300) as client:
        yield client


PICTURES = {
    "the scene": lambda: (ROOT / "examples/scene.png").read_bytes(),
    "a turned JPEG": turned,
    "a WebP": lambda: encoded(Image.fromarray(data.coffee()), "WEBP"),
    "a TIFF of gray": lambda: encoded(Image.fromarray(data.camera()), "TIFF"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_masks_are_those_of_the_sdk(real: Gateway, sam: SlimSam, name: str) -> None:
    content = PICTURES[name]()
    kept = real.http.post("/v1/images", content=content).json()
    height, width = load_image(content).shape[:2]
    assert (kept["width"], kept["height"]) == (width, height)
    embedding = sam.embed(content)
    for prompt in PROMPTS:
        answer = real.http.post(f"/v1/images/{kept['id']}/masks", json=prompt)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        expected = sam.predict(embedding, **prompt)  # type: ignore[arg-type]
        masks = expected.best_masks.reshape(-1, height, width)
        for index, mask in enumerate(masks):
            rle = {"size": [height, width], "counts": found["masks"][index][0]}
            np.testing.assert_array_equal(from_rle(rle), mask)  # type: ignore[arg-type]
            assert found["areas"][index] == [mask.sum()]
            assert found["boxes"][index] == [list(to_box(mask) or (0, 0, 0, 0))]
        scores: NDArray[np.float32] = np.float32(found["scores"]).ravel()
        np.testing.assert_array_equal(scores, np.ravel(expected.best_scores))


CLICKS = ([[150, 180]], [[20, 20]])
BOX = [60, 20, 280, 290]


def in_base64(name: str) -> tuple[bytes, str]:
    content = PICTURES[name]()
    return content, base64.b64encode(content).decode()


@pytest.mark.parametrize("name", PICTURES)
def test_polygons_of_x_anylabeling(real: Gateway, sam: SlimSam, name: str) -> None:
    content, text = in_base64(name)
    marks = [
        *({"type": "point", "data": point, "label": 1} for point in CLICKS[0]),
        *({"type": "point", "data": point, "label": 0} for point in CLICKS[1]),
        {"type": "rectangle", "data": BOX},
    ]
    embedding = sam.embed(content)
    points = {"points": [*CLICKS[0], *CLICKS[1]], "labels": [1, 0]}
    for asked, prompt in ((marks[:2], points), (marks[2:], {"box": BOX})):
        mask = sam.predict(embedding, **prompt).best_masks  # type: ignore[arg-type]
        assert mask.any()
        for factor, least in ((0.001, 0.99), (0, 1.0)):
            params = {"marks": asked, "epsilon_factor": factor}
            request = {"model": "slimsam", "image": f"data:;base64,{text}", "params": params}
            answer = real.http.post("/x-anylabeling/v1/predict", json=request)
            assert answer.status_code == 200, answer.text
            shapes = answer.json()["data"]["shapes"]
            found = from_polygons([[shape["points"]] for shape in shapes], mask.shape)
            assert (found & mask).sum() / (found | mask).sum() >= least


@pytest.mark.parametrize("name", PICTURES)
def test_masks_of_cvat_are_those_of_the_sdk(real: Gateway, sam: SlimSam, name: str) -> None:
    content, text = in_base64(name)
    payload = {"image": text, "pos_points": CLICKS[0], "neg_points": CLICKS[1], "obj_bbox": []}
    headers = {"x-nuclio-function-name": "slimsam"}
    answer = real.http.post("/api/function_invocations", json=payload, headers=headers)
    assert answer.status_code == 200, answer.text
    points = [*CLICKS[0], *CLICKS[1]]
    expected = sam.predict(sam.embed(content), points, [1, 0]).best_masks
    assert expected.any()
    np.testing.assert_array_equal(np.array(answer.json()["mask"]) == 1, expected)


def test_everything_is_that_of_the_sdk(
    real: Gateway, sam: SlimSam, demo_server: EmbeddedServer
) -> None:
    content = PICTURES["the scene"]()
    image_id = real.upload(content)
    query = {"points_per_side": 4, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.5}
    settings = GenerateSettings(4, pred_iou_thresh=0.5, stability_score_thresh=0.5)
    path = f"/v1/images/{image_id}/everything"
    answer = real.http.post(path, content=content, params=query)
    expected = sam.generate(content, settings, on_server=True)
    assert expected
    assert answer.json()["records"] == [record.as_dict("coco_rle") for record in expected]

    # The same picture as a copy of one that was twice as large: records are in pixels of that.
    size = {"original_width": 2048, "original_height": 1536}
    image_id = real.http.post("/v1/images", content=content, params=size).json()["id"]
    encoded_before = settled_counts(demo_server.grpc_url, ENCODER.name)
    path = f"/v1/images/{image_id}/everything"
    answer = real.http.post(path, content=content, params={**query, **size})
    assert answer.status_code == 200, answer.text
    records = [MaskRecord.from_dict(record) for record in answer.json()["records"]]
    masks = [record.segmentation for record in records]
    for record in expected:
        best = max((mask[::2, ::2] == record.segmentation).mean() for mask in masks)
        assert best > 0.98
    assert {mask.shape for mask in masks} == {(1536, 2048)}
    reduced = UploadedImage(image_id, content, (1536, 2048), is_reduced=True)
    again = sam.generate(reduced, settings, on_server=True)
    assert [one.as_dict("coco_rle") for one in again] == answer.json()["records"]
    # Its embedding is the one that is kept.
    assert settled_counts(demo_server.grpc_url, ENCODER.name) == encoded_before


def test_problems(real: Gateway) -> None:
    """The server's own words, without what Triton puts before them."""
    problem = real.problem("POST", "/v1/images", content=b"no picture")
    assert kind(problem) == "refused"
    assert problem["detail"].startswith("image bytes: expected an image")
    image_id = real.upload(PICTURES["the scene"]())
    url = f"/v1/images/{image_id}/masks"
    problem = real.problem("POST", url, json={"points": [[9000, 5]]})
    assert problem["detail"].startswith("point 0: expected (x, y) within")
    problem = real.problem("POST", url.replace(image_id, "0" * 64), json=PROMPTS[0])
    assert kind(problem) == "not-kept"
    problem = real.problem("POST", url, json={"mask_id": "0" * 64})
    assert kind(problem) == "not-kept"


def test_health(real: Gateway) -> None:
    answer = real.http.get("/health")
    assert (answer.status_code, answer.json()["healthy"]) == (200, True), answer.text
