"""Our graphs against transformers' SamModel, in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import SamModel

from slimsam_build import reference
from slimsam_build.graphs import Decoder, Encoder
from slimsam_build.random_checkpoint import random_checkpoint
from slimsam_client.contract import ABSENT

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
"""Relative to the largest value."""


@pytest.fixture(scope="module")
def model_of(slimsam_77: SamModel) -> Callable[[str], SamModel]:
    models = {"slimsam-77": slimsam_77}

    def of(geometry: str) -> SamModel:
        if geometry not in models:
            models[geometry] = random_checkpoint(geometry)
        return models[geometry]

    return of


def relative_error(found: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("geometry", ["slimsam-77", "slimsam-50"])
def test_encoder_equals_sam_model(model_of: Callable[[str], SamModel], geometry: str) -> None:
    model = model_of(geometry)
    encoder = Encoder(model).eval()
    images, sizes = reference.sample_images()
    images = np.concatenate([images, images[:1, ::-1]])
    sizes = np.concatenate([sizes, [[1024, 300]]]).astype(np.int32)
    expected = reference.embed(model, images, sizes)
    for batch in (1, 2, 3):
        rows = slice(3 - batch, 3)  # the last row, with its own size, is in every batch
        found = encoder.embed(torch.from_numpy(images[rows].copy()), torch.from_numpy(sizes[rows]))
        assert relative_error(found, expected[rows]) < TOLERANCE


def some_prompts(
    kind: str, prompts: int, points: int, rng: np.random.Generator
) -> reference.Prompts:
    coords = rng.uniform(0, 1024, (prompts, points, 2)).astype(np.float32)
    labels = rng.integers(0, 2, (prompts, points)).astype(np.int32)
    corners = np.sort(rng.uniform(0, 1024, (prompts, 2, 2)), axis=1)
    box = corners.reshape(prompts, 4).astype(np.float32)
    mask = rng.normal(0, 5, (256, 256)).astype(np.float32)
    given = {
        "points": {"points": coords, "labels": np.ones_like(labels)},
        "mixed labels": {"points": coords, "labels": labels},
        "box": {"box": box},
        "box with points": {"points": coords, "labels": labels, "box": box},
        "mask": {"points": coords, "labels": labels, "mask": mask},
    }[kind]
    return reference.make_prompts(kind, **given, absent=0)


@pytest.mark.parametrize("geometry", ["slimsam-77", "slimsam-50"])
@pytest.mark.parametrize("kind", ["points", "mixed labels", "box", "box with points", "mask"])
def test_decoder_equals_sam_model(
    model_of: Callable[[str], SamModel], geometry: str, kind: str
) -> None:
    model = model_of(geometry)
    decoder = Decoder(model).eval()
    rng = np.random.default_rng(1)
    shapes = [(1, 5, 1), (2, 1, 2), (3, 5, 3), (2, 5, 7), (1, 64, 1)]
    for batch, count, points in shapes:
        embeddings = rng.normal(0, 1, (batch, 256, 64, 64)).astype(np.float32)
        rows = [some_prompts(kind, count, points, rng) for _ in range(batch)]
        answers = [
            reference.decode(model, embedding, prompts)
            for embedding, prompts in zip(embeddings, rows, strict=True)
        ]
        wire = {
            name: torch.from_numpy(np.concatenate([prompts.wire[name] for prompts in rows]))
            for name in rows[0].wire
        }
        masks, scores = decoder.decode(torch.from_numpy(embeddings), **wire)
        assert relative_error(masks, np.stack([answer.masks for answer in answers])) < TOLERANCE
        assert relative_error(scores, np.stack([answer.scores for answer in answers])) < TOLERANCE


@pytest.mark.parametrize("kind", ["points", "box with points", "mask"])
def test_absent_points_change_nothing(slimsam_77: SamModel, kind: str) -> None:
    decoder = Decoder(slimsam_77).eval()
    rng = np.random.default_rng(2)
    embeddings = torch.from_numpy(rng.normal(0, 1, (1, 256, 64, 64)).astype(np.float32))
    wire = {
        name: torch.from_numpy(value) for name, value in some_prompts(kind, 3, 2, rng).wire.items()
    }
    masks, scores = decoder.decode(embeddings, **wire)
    for absent in (1, 4, 60):
        padded = dict(wire)
        junk = torch.rand(1, 3, absent, 2) * 1e6
        padded["point_coords"] = torch.cat([wire["point_coords"], junk], dim=2)
        kinds = torch.full((1, 3, absent), ABSENT, dtype=torch.int32)
        padded["point_labels"] = torch.cat([wire["point_labels"], kinds], dim=2)
        more_masks, more_scores = decoder.decode(embeddings, **padded)
        assert relative_error(more_masks, masks) < 1e-5
        assert relative_error(more_scores, scores) < 1e-5


def test_a_mask_alone_is_a_prompt_without_points(slimsam_77: SamModel) -> None:
    mask = np.random.default_rng(3).normal(0, 5, (256, 256)).astype(np.float32)
    prompts = reference.make_prompts("mask", mask=mask, absent=2)
    embeddings = np.random.default_rng(4).normal(0, 1, (1, 256, 64, 64)).astype(np.float32)
    expected = slimsam_77(
        image_embeddings=torch.from_numpy(embeddings),
        input_masks=torch.from_numpy(mask)[None, None],
    )
    wire = {name: torch.from_numpy(value) for name, value in prompts.wire.items()}
    masks, scores = Decoder(slimsam_77).eval().decode(torch.from_numpy(embeddings), **wire)
    assert relative_error(masks[:, :, 1:], expected.pred_masks) < TOLERANCE
    assert relative_error(scores[:, :, 1:], expected.iou_scores) < TOLERANCE


def test_graphs_leave_the_model_as_it_was(slimsam_77: SamModel) -> None:
    before = {name: value.clone() for name, value in slimsam_77.state_dict().items()}
    Encoder(slimsam_77)
    Decoder(slimsam_77)
    after = slimsam_77.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
