"""What Triton's own backends answer beside SamModel, to other pictures than the gate's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from raw_requests import infer
from skimage import data

from slimsam_build import reference
from slimsam_build.checkpoints import Checkpoint
from slimsam_build.parity import BOUNDS
from slimsam_build.reference import Answer, Prompts, make_prompts
from slimsam_client.contract import DECODER, ENCODER, ENSEMBLE
from slimsam_client.image.load import preprocess
from slimsam_client.parity.figures import Figures, largest_difference, mask_overlaps, relative_error

PICTURES: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "astronaut, square": data.astronaut,
    "coffee, wide": data.coffee,
}
EXACT = replace(BOUNDS["fp32"], mask_iou_min=0.999)


def prompts_of_every_kind() -> list[Prompts]:
    """The gate's kinds, with other points; as many prompts and points as a request may have."""
    rng = np.random.default_rng(7)

    def clicks(prompts: int, points: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        coords = rng.uniform(20, 640, (prompts, points, 2)).astype(np.float32)
        return coords, rng.integers(0, 2, (prompts, points)).astype(np.int32)

    return [
        *reference.all_prompts(seed=7),
        make_prompts("16 clicks", *clicks(16, 1), absent=0),
        make_prompts("62 points", *clicks(1, 62)),
        make_prompts("absent points", *clicks(5, 3), absent=12),
    ]


@dataclass(frozen=True)
class Expected:
    """What SamModel answers to a picture."""

    image: NDArray[np.uint8]
    input_size: NDArray[np.int32]
    embeddings: NDArray[np.float32]
    answers: list[Answer]


@pytest.fixture(scope="module")
def expected(checkpoint_of: Callable[[str], Checkpoint]) -> Callable[[str, str], Expected]:
    @functools.cache
    def of(checkpoint: str, picture: str) -> Expected:
        image, input_size = preprocess(PICTURES[picture]())
        image, input_size = image.reshape(1, 1024, 1024, 3), input_size.reshape(1, 2)
        model = checkpoint_of(checkpoint).model
        embeddings = reference.embed(model, image, input_size)
        answers = [
            reference.decode(model, embeddings[0], prompts) for prompts in prompts_of_every_kind()
        ]
        return Expected(image, input_size, embeddings, answers)

    return of


@pytest.mark.parametrize("checkpoint", ["demo", "slimsam-77"])
def test_masks_equal_sam_model(
    checkpoint: str, target: str, serve_native: Any, expected: Callable[[str, str], Expected]
) -> None:
    url = serve_native(checkpoint, target).grpc_url
    overlaps: list[float] = []
    for picture in PICTURES:
        of_model = expected(checkpoint, picture)
        frame = {"image": of_model.image, "input_size": of_model.input_size}
        embeddings = infer(url, ENCODER.name, frame).as_numpy("image_embeddings")
        error = relative_error(embeddings, of_model.embeddings)
        for index, (prompts, answer) in enumerate(
            zip(prompts_of_every_kind(), of_model.answers, strict=True)
        ):
            given = {"image_embeddings": embeddings, **prompts.wire}
            found = [infer(url, DECODER.name, given)]
            if index == 0:  # the image goes along
                found.append(infer(url, ENSEMBLE.name, {**frame, **prompts.wire}))
            for result in found:
                logits = result.as_numpy("low_res_masks")[0]
                overlap = mask_overlaps(logits > 0, answer.masks > 0)
                scores = largest_difference(result.as_numpy("iou_predictions")[0], answer.scores)
                figures = Figures(error, 1, float(overlap.min()), scores)
                bounds = EXACT if checkpoint == "slimsam-77" else BOUNDS["fp32"]
                assert np.isfinite(logits).all()
                assert figures.beyond(bounds) == [], (picture, prompts.name)
                overlaps += overlap.tolist()
    assert np.mean(overlaps) >= BOUNDS["fp32"].mask_iou_mean
