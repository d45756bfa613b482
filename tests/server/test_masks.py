"""Served masks against SamModel and its image processor, on real images, for every prompt kind."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from transformers import SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from slimsam_client import Prediction, SlimSam
from slimsam_server import EmbeddedServer

pytestmark = pytest.mark.slow


def exif_rotated(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG that is stored lying and shown upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to show
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def with_alpha(pixels: NDArray[np.uint8]) -> Image.Image:
    alpha = np.full((*pixels.shape[:2], 1), 128, np.uint8)
    return Image.fromarray(np.concatenate([pixels, alpha], axis=2))


# Each: what the client is given, and the RGB pixels that it should see.
IMAGES: dict[str, Callable[[], tuple[Any, NDArray[np.uint8]]]] = {
    "astronaut 512x512": lambda: (data.astronaut(), data.astronaut()),
    "coffee 400x600": lambda: (Image.fromarray(data.coffee()), data.coffee()),
    "chelsea, odd 299x447": lambda: (data.chelsea()[:299, :447], data.chelsea()[:299, :447]),
    "rocket RGBA": lambda: (with_alpha(data.rocket()), data.rocket()),
    "coins gray": lambda: (data.coins(), np.repeat(data.coins()[..., None], 3, axis=2)),
    "chelsea EXIF-rotated": lambda: (
        exif_rotated(data.chelsea()),
        np.rot90(np.asarray(Image.open(io.BytesIO(exif_rotated(data.chelsea())))), -1),
    ),
}


def prompts_for(height: int, width: int) -> dict[str, dict[str, Any]]:
    """One of every kind, in pixels of the image."""
    x, y = width * 0.4, height * 0.55
    points = [[x, y], [width * 0.7, height * 0.3], [width * 0.1, height * 0.9]]
    box = [width * 0.2, height * 0.15, width * 0.8, height * 0.9]
    return {
        "click": {"points": points[:1]},
        "mixed labels": {"points": points, "labels": [1, 0, 1]},
        "box": {"box": box},
        "box with points": {"box": box, "points": points[:2], "labels": [1, 0]},
        "many clicks": {"points": [[point] for point in points]},
        "many boxes": {"box": [box, [0, 0, x, y]]},
        "edges": {"points": [[0, 0], [width, height]], "labels": [1, 1]},
    }


class Reference:
    """SamModel and its processor, as a notebook uses them."""

    def __init__(self, model: SamModel, pixels: NDArray[np.uint8]) -> None:
        self.model = model
        self.processor = SamImageProcessorPil()
        self.inputs = self.processor(np.ascontiguousarray(pixels), return_tensors="pt")
        self.size = pixels.shape[:2]
        self.embeddings = model.get_image_embeddings(self.inputs["pixel_values"])
        self.known: dict[str, tuple[NDArray[np.bool_], NDArray[np.float32]]] = {}

    def predict(self, **prompts: Any) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Masks (P, M, H, W) and scores (P, M), computed once for both targets."""
        if prompts.get("mask_input") is not None:  # which is the target's own answer
            return self.compute(**prompts)
        key = repr(sorted(prompts.items()))
        if key not in self.known:
            self.known[key] = self.compute(**prompts)
        return self.known[key]

    def compute(
        self,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        height, width = self.inputs["reshaped_input_sizes"][0].tolist()
        scale = torch.tensor([width / self.size[1], height / self.size[0]])
        arguments: dict[str, torch.Tensor] = {}
        if points is not None:
            coords = torch.tensor(points, dtype=torch.float32)
            coords = coords[None] if coords.ndim == 2 else coords
            kinds = torch.ones(coords.shape[:2], dtype=torch.int32)
            if labels is not None:
                kinds = torch.tensor(labels, dtype=torch.int32).reshape(coords.shape[:2])
            arguments |= {"input_points": (coords * scale)[None], "input_labels": kinds[None]}
        if box is not None:
            corners = torch.tensor(box, dtype=torch.float32).reshape(-1, 2, 2) * scale
            arguments["input_boxes"] = corners.reshape(1, -1, 4)
        if mask_input is not None:
            arguments["input_masks"] = torch.tensor(mask_input)[None, None]
        output = self.model(
            image_embeddings=self.embeddings, multimask_output=multimask_output, **arguments
        )
        masks = self.processor.post_process_masks(
            output.pred_masks,
            self.inputs["original_sizes"].tolist(),
            self.inputs["reshaped_input_sizes"].tolist(),
        )[0]
        return masks.numpy(), output.iou_scores[0].numpy()


@pytest.fixture(scope="module")
def references(slimsam_77: SamModel) -> Callable[[str], Reference]:
    made: dict[str, Reference] = {}

    def of(name: str) -> Reference:
        if name not in made:
            made[name] = Reference(slimsam_77, IMAGES[name]()[1])
        return made[name]

    return of


def assert_equal(
    prediction: Prediction, masks: NDArray[np.bool_], scores: NDArray[np.float32], what: str
) -> None:
    if prediction.masks.ndim == 3:
        assert len(masks) == 1
        masks, scores = masks[0], scores[0]
    assert prediction.masks.shape == masks.shape, what
    union = (prediction.masks | masks).sum((-1, -2))
    shared = (prediction.masks & masks).sum((-1, -2))
    overlap = np.where(union == 0, 1.0, shared / np.maximum(union, 1))
    assert overlap.min() >= 0.999, (what, overlap)
    assert np.abs(prediction.scores - scores).max() <= 1e-2, what


# What an image can get wrong lies in the client, so one target takes them all, and one image every
# kind of prompt.
ODD = "chelsea, odd 299x447"
PAIRS = [("openvino", name) for name in IMAGES] + [("torchscript", ODD)]


@pytest.mark.parametrize(("target", "name"), PAIRS)
def test_served_masks_equal_sam_model(
    target: str,
    name: str,
    serve: Callable[[str], EmbeddedServer],
    references: Callable[[str], Reference],
) -> None:
    reference = references(name)
    given, pixels = IMAGES[name]()
    with SlimSam(serve(target).grpc_url, timeout=120) as sam:
        embedding = sam.embed(given)
        assert embedding.original_size == pixels.shape[:2]
        all_prompts = prompts_for(*pixels.shape[:2])
        # One kind per image, so that all are covered.
        kinds = list(all_prompts)
        index = list(IMAGES).index(name)
        some = [kinds[index], kinds[(index + 1) % len(kinds)]]
        for kind in kinds if name == ODD else some:
            prompts = all_prompts[kind]
            for multimask in (True, False) if name == ODD else (True,):
                prediction = sam.predict(embedding, **prompts, multimask_output=multimask)
                expected = reference.predict(multimask_output=multimask, **prompts)
                assert_equal(prediction, *expected, f"predict, {kind}, multimask {multimask}")
        first = sam.predict(embedding, **all_prompts["click"])
        refining = {**all_prompts["click"], "mask_input": first.low_res_logits[first.best]}
        for prompts in (refining, {"mask_input": refining["mask_input"]}) if name == ODD else ():
            assert_equal(
                sam.predict(embedding, **prompts), *reference.predict(**prompts), "mask_input"
            )
        for kind in some:  # through the ensemble, the image goes along
            prediction = sam.segment(given, **all_prompts[kind])
            expected = reference.predict(multimask_output=True, **all_prompts[kind])
            assert_equal(prediction, *expected, f"segment, {kind}")
