"""The functions of CVAT, as the real `cvat-cli` runs them for a CVAT that is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cvat import FakeCvat, fake_cvat
from PIL import Image
from running_gateway import drawn, encoded
from skimage import data

from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.contract import ENCODER
from slimsam_client.encodings import to_polygons
from slimsam_client.testing import FakeServer
from slimsam_server import EmbeddedServer

if sys.version_info < (3, 11):
    pytest.skip("cvat-cli needs Python 3.11", allow_module_level=True)

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).parent / "cvat-cli"
Cli = Callable[..., str]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def cvat() -> Iterator[FakeCvat]:
    with fake_cvat(encoded(drawn())) as fake:
        yield fake


@pytest.fixture
def cli(cvat: FakeCvat, tmp_path: Path) -> Cli:
    """Run it, for the fake CVAT."""
    return lambda *arguments: run(cvat, tmp_path, *arguments)


def run(cvat: FakeCvat, home: Path, *arguments: object) -> str:
    address = ["--server-host", "http://127.0.0.1", "--server-port", cvat.server_port]
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(home))
    done = subprocess.run(
        list(map(str, [COMMAND, *address, *arguments])),
        env={**os.environ, **places, "CVAT_ACCESS_TOKEN": "token"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert cvat.unknown == []
    assert done.returncode == 0, done.stderr
    assert cvat.tokens == {"Bearer token"}
    return done.stdout


def function(url: str, **parameters: str | int) -> list[object]:
    given = {"url": url, **parameters}
    options = [f"{name}={type(value).__name__}:{value}" for name, value in given.items()]
    file = ["--function-file", ROOT / "examples/cvat_function.py"]
    return [*file, *(part for option in options for part in ("-p", option))]


def mask_of(points: Any, size: tuple[int, int]) -> Any:
    from cvat_sdk.masks import decode_mask

    return decode_mask(points, image_width=size[0], image_height=size[1])


def answers(cvat: FakeCvat) -> list[Any]:
    assert cvat.failed == {} and cvat.waiting == []
    return [cvat.completed[key]["shapes"] for key in sorted(cvat.completed)]


def test_an_agent_answers_clicks(cvat: FakeCvat, cli: Cli, server: FakeServer) -> None:
    assert cli("function", "create-native", "SlimSAM", *function(server.url)).strip() == "7"
    (created,) = cvat.created
    assert created["kind"] == "interactor"
    assert created["min_pos_points"] == created["min_neg_points"] == 0
    assert created["startswith_box_optional"] is True
    cvat.ask([[90, 90]])
    cvat.ask([[90, 90]], [[20, 20]], [[40, 40], [140, 140]])
    cvat.ask(box=[[190, 50], [310, 210]])
    cli("function", "run-agent", 7, "--burst", *function(server.url))
    # The agent keeps what the first click made of the picture.
    models = [request.model for request in server.requests]
    assert models.count(ENCODER.name) == 1
    prompts: list[dict[str, Any]] = [
        {"points": [[90, 90]]},
        {"points": [[90, 90], [20, 20]], "labels": [1, 0], "box": [40, 40, 140, 140]},
        {"box": [190, 50, 310, 210]},
    ]
    with SlimSam(server.url) as sam:
        embedding = sam.embed(drawn())
        for shapes, prompt in zip(answers(cvat), prompts, strict=True):
            expected = sam.predict(embedding, **prompt)
            (shape,) = shapes
            assert shape["type"] == "mask"
            (confidence,) = shape["attributes"]
            assert confidence["spec_id"] == 0
            assert float(confidence["value"]) == pytest.approx(float(expected.best_scores))
            np.testing.assert_array_equal(mask_of(shape["points"], cvat.size), expected.best_masks)


def test_everything_in_a_task(cvat: FakeCvat, cli: Cli, server: FakeServer) -> None:
    options = function(server.url, kind="everything", points_per_side=5)
    cli("task", "auto-annotate", 1, *options)
    cli("task", "auto-annotate", 1, "--conv-mask-to-poly", *options)
    cli("task", "auto-annotate", 1, "--conf-threshold", 1, *options)
    masks, polygons, sure = (one["shapes"] for one in cvat.annotations)
    with SlimSam(server.url) as sam:
        expected = sam.generate(drawn(), GenerateSettings(points_per_side=5))
    assert len(expected) > 2
    for shape, record in zip(masks, expected, strict=True):
        assert (shape["type"], shape["label_id"], shape["frame"]) == ("mask", 5, 0)
        found = mask_of(shape["points"], cvat.size)
        np.testing.assert_array_equal(found, record.segmentation)
    assert {shape["type"] for shape in polygons} == {"polygon"}
    outer = [rings[0] for record in expected for rings in to_polygons(record.segmentation)]
    for shape, ring in zip(polygons, outer, strict=True):
        np.testing.assert_array_equal(np.reshape(shape["points"], (-1, 2)), ring)
    assert len(sure) == sum(record.predicted_iou >= 1 for record in expected)


def test_a_kind_that_is_not_there(server: FakeServer, load_example: Any) -> None:
    with pytest.raises(ValueError, match="kind: expected 'clicks' or 'everything', got 'x'"):
        load_example("cvat_function.py").create(server.url, kind="x")


def test_masks_of_a_photo_are_those_of_the_sdk(
    demo_server: EmbeddedServer, sam: SlimSam, tmp_path: Path
) -> None:
    photo = data.coffee()
    options = function(demo_server.grpc_url)
    with fake_cvat(encoded(Image.fromarray(photo))) as cvat:
        run(cvat, tmp_path, "function", "create-native", "SlimSAM", *options)
        cvat.ask([[300, 180]])
        cvat.ask([[300, 180]], [[20, 20]])
        run(cvat, tmp_path, "function", "run-agent", 7, "--burst", *options)
        embedding = sam.embed(photo)
        prompts: list[dict[str, Any]] = [
            {"points": [[300, 180]]},
            {"points": [[300, 180], [20, 20]], "labels": [1, 0]},
        ]
        for shapes, prompt in zip(answers(cvat), prompts, strict=True):
            expected = sam.predict(embedding, **prompt).best_masks
            assert expected.any()
            found = mask_of(shapes[0]["points"], cvat.size)
            np.testing.assert_array_equal(found, expected)
