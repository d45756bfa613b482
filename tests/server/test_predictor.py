"""`Predictor` on a real server beside segment-anything's `SamPredictor` over the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from references import SegmentAnything
from skimage import data
from transformers import SamModel

from slimsam_build.demo.scenes import draw_scene
from slimsam_client import (
    ImageError,
    ImageNotSetError,
    Predictor,
    PromptError,
    SlimSam,
    SlimSamError,
)
from slimsam_server import EmbeddedServer

SCENE = np.ascontiguousarray(draw_scene(900100, 512).image[:384])
IMAGES: dict[str, NDArray[np.uint8]] = {
    "scene 384x512": SCENE,
    "coffee 400x600": data.coffee(),
    "chelsea, odd and upright": np.ascontiguousarray(np.rot90(data.chelsea()[:299, :447])),
}

TOLERANCE = 0.002  # relative; the wire has embeddings and logits in half precision


def prompts_of(height: int, width: int) -> dict[str, dict[str, Any]]:
    """One of every kind, as SAM's notebook writes them."""
    points = np.array([[width * 0.4, height * 0.55], [width * 0.7, height * 0.3]])
    box = np.array([width * 0.2, height * 0.15, width * 0.8, height * 0.9])
    return {
        "point": {"point_coords": points[:1], "point_labels": np.array([1])},
        "points": {"point_coords": points, "point_labels": np.array([1, 0])},
        "box": {"box": box},
        "box with an axis": {"box": box[None, :]},
        "box and point": {"box": box, "point_coords": points[1:], "point_labels": np.array([0])},
    }


@pytest.fixture(scope="module")
def predictor(demo_server: EmbeddedServer) -> Iterator[Predictor]:
    with SlimSam(demo_server.grpc_url, timeout=120) as sam:
        yield Predictor(sam)


@pytest.fixture(scope="module")
def with_scene(demo_server: EmbeddedServer) -> Iterator[Predictor]:
    with SlimSam(demo_server.grpc_url, timeout=120) as sam:
        predictor = Predictor(sam)
        predictor.set_image(SCENE)
        yield predictor


@pytest.fixture
def reference(plain_torchvision: None, demo_model: SamModel) -> Any:
    from segment_anything import SamPredictor

    return SamPredictor(SegmentAnything(demo_model))


def assert_alike(predictor: Predictor, reference: Any, what: str, **prompts: Any) -> None:
    """The same answer: types, shapes, and values up to the wire's half precision."""
    masks, scores, low_res = predictor.predict(**prompts)
    logits, *others = reference.predict(**prompts, return_logits=True)
    for our, their in zip((masks, scores, low_res), (logits > 0, *others), strict=True):
        assert type(our) is type(their) and our.shape == their.shape and our.dtype == their.dtype
    scale = np.abs(others[1]).max()
    assert np.abs(low_res - others[1]).max() <= TOLERANCE * scale, what
    assert np.abs(scores - others[0]).max() <= TOLERANCE, what
    # Only where a logit is zero up to that precision may masks differ.
    assert not (masks != (logits > 0))[np.abs(logits) > TOLERANCE * scale].any(), what
    assert (masks != (logits > 0)).mean() <= 1e-3, what


@pytest.mark.parametrize("name", list(IMAGES))
def test_gives_what_sams_predictor_gives(predictor: Predictor, reference: Any, name: str) -> None:
    image = IMAGES[name]
    predictor.set_image(image)
    reference.set_image(image)
    kinds = prompts_of(*image.shape[:2])
    for kind, prompts in kinds.items():
        assert_alike(predictor, reference, kind, **prompts)
    assert_alike(predictor, reference, "one mask", **kinds["box"], multimask_output=False)
    # The loop of SAM's notebook: the best answer goes in again, with one point more.
    _, scores, low_res = predictor.predict(**kinds["point"])
    mask_input = low_res[scores.argmax()][None]
    assert_alike(predictor, reference, "refined", **kinds["points"], mask_input=mask_input)
    assert_alike(predictor, reference, "mask_input alone", mask_input=mask_input)


def test_logits_are_sams(with_scene: Predictor, reference: Any) -> None:
    reference.set_image(SCENE)
    prompt = prompts_of(*SCENE.shape[:2])["point"]
    ours, _, low_res = with_scene.predict(**prompt, return_logits=True)
    theirs, _, _ = reference.predict(**prompt, return_logits=True)
    assert ours.dtype == theirs.dtype == np.float32 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()
    # From equal low-resolution logits, equal up to float32: the scaling itself is exact.
    whole = reference.model.postprocess_masks(
        torch.from_numpy(low_res)[None], reference.input_size, reference.original_size
    )[0].numpy()
    assert np.abs(ours - whole).max() <= 1e-4 * np.abs(whole).max()


def test_logits_and_masks_are_one(with_scene: Predictor) -> None:
    prompt = prompts_of(*SCENE.shape[:2])["point"]
    masks, _, low_res_masks = with_scene.predict(**prompt)
    logits, _, again = with_scene.predict(**prompt, return_logits=True)
    assert np.array_equal(low_res_masks, again)
    assert np.array_equal(logits > 0, masks)


def test_the_embedding_is_sams(with_scene: Predictor, reference: Any) -> None:
    reference.set_image(SCENE)
    ours, theirs = with_scene.get_image_embedding(), reference.get_image_embedding().numpy()
    assert ours.shape == theirs.shape == (1, 256, 64, 64) and ours.dtype == theirs.dtype
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def test_bgr_is_turned(predictor: Predictor, reference: Any) -> None:
    bgr = np.ascontiguousarray(data.coffee()[..., ::-1])
    predictor.set_image(data.coffee())
    expected = predictor.get_image_embedding()
    predictor.set_image(bgr, "BGR")
    assert np.array_equal(predictor.get_image_embedding(), expected)
    reference.set_image(bgr, "BGR")
    assert_alike(predictor, reference, "BGR", **prompts_of(400, 600)["box"])
    predictor.set_image(np.dstack([bgr, np.full((400, 600), 9, np.uint8)]), image_format="BGR")
    assert np.array_equal(predictor.get_image_embedding(), expected)


def test_without_an_image(predictor: Predictor) -> None:
    predictor.reset_image()
    for ask in (lambda: predictor.predict(box=[1, 1, 9, 9]), predictor.get_image_embedding):
        assert not predictor.is_image_set
        with pytest.raises(ImageNotSetError, match="call set_image first"):
            ask()
        assert issubclass(ImageNotSetError, RuntimeError)  # what SAM raises
        predictor.set_image(SCENE)
        assert predictor.is_image_set
        ask()
        predictor.reset_image()


@pytest.mark.parametrize(
    "wrong",
    [{"image": b"no image"}, {"image": SCENE, "image_format": "BGRA"},
     {"image": np.zeros((4, 4, 3), np.float32)}, {"image": "photo.jpg", "image_format": "BGR"}],
)  # fmt: skip
def test_an_image_that_fails_leaves_none(predictor: Predictor, wrong: dict[str, Any]) -> None:
    predictor.set_image(SCENE)
    with pytest.raises(ImageError):
        predictor.set_image(**wrong)
    assert not predictor.is_image_set


def test_a_server_that_fails_leaves_none(demo_server: EmbeddedServer) -> None:
    with SlimSam(demo_server.grpc_url, timeout=120) as sam:
        predictor = Predictor(sam)
        predictor.set_image(SCENE)
    with pytest.raises(SlimSamError):
        predictor.set_image(SCENE)
    assert not predictor.is_image_set


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "got none of them"),
        ({"point_coords": [[1, 1]]}, "point_labels: expected one per point"),
        ({"point_labels": [1]}, "expected points"),
        ({"point_coords": [[[1, 1]]], "point_labels": [[1]]}, "expected one prompt"),
        ({"point_coords": [1, 1], "point_labels": [1]}, "expected one prompt"),
        ({"point_coords": [[1, 1], [2]], "point_labels": [1, 1]}, "array of numbers"),
        ({"point_coords": [[1, 1]], "point_labels": [1, 0]}, "labels"),
        ({"point_coords": [[1, 1]], "point_labels": [-1]}, "1 .foreground. or 0"),
        ({"point_coords": [[9999, 1]], "point_labels": [1]}, "within 0..512"),
        ({"box": [[1, 1, 9, 9], [2, 2, 8, 8]]}, "expected one prompt"),
        ({"box": [[1], [1], [9], [9]]}, "expected one prompt"),
        ({"box": [9, 9, 1, 1]}, "x0 < x1"),
        ({"box": "here"}, "array of numbers"),
        ({"box": [1, 1, 9, 9], "mask_input": np.zeros((3, 256, 256))}, "mask_input"),
    ],
)
def test_wrong_prompts(with_scene: Predictor, prompts: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        with_scene.predict(**prompts)
