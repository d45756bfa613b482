"""Our graphs against transformers' SamModel, in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import SamModel

from slimsam_build import reference
from slimsam_build.graphs import Decoder, Encoder, FusedDecoder, FusedEncoder
from slimsam_client.contract import ABSENT, MAX_PROMPTS

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
"""Relative to the largest value."""
ENCODERS = (Encoder, FusedEncoder)
DECODERS = (Decoder, FusedDecoder)
"""Forms of one function: a test has them all beside one answer of `SamModel`, which takes long."""


def relative_error(found: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    ("geometry", "batches"), [("slimsam-77", (1, 3)), ("slimsam-50", (2,)), ("sam-vit-base", (1,))]
)
def test_encoder_equals_sam_model(
    shallow: Callable[[str], SamModel], geometry: str, batches: tuple[int, ...]
) -> None:
    model = shallow(geometry)
    images, sizes = reference.sample_images()
    images = np.concatenate([images, images[:1, ::-1]])
    sizes = np.concatenate([sizes, [[1024, 300]]]).astype(np.int32)
    largest = slice(3 - max(batches), 3)
    expected = reference.embed(model, images[largest], sizes[largest])
    for form in ENCODERS:
        encoder = form(model).eval()
        for batch in batches:
            rows = slice(3 - batch, 3)  # the last row, with its own size, is in every batch
            found = encoder.embed(
                torch.from_numpy(images[rows].copy()), torch.from_numpy(sizes[rows])
            )
            assert relative_error(found, expected[-batch:]) < TOLERANCE, form


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


# The decoder's geometry is fixed by the contract: it is the same in all checkpoints.
@pytest.mark.parametrize("kind", ["points", "mixed labels", "box", "box with points", "mask"])
def test_decoder_equals_sam_model(shallow: Callable[[str], SamModel], kind: str) -> None:
    model = shallow("slimsam-77")
    rng = np.random.default_rng(1)
    shapes = [(1, 3, 1), (3, 1, 2), (2, 2, 7)]
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
        expected_masks = np.stack([answer.masks for answer in answers])
        expected_scores = np.stack([answer.scores for answer in answers])
        for form in DECODERS:
            masks, scores = form(model).eval().decode(torch.from_numpy(embeddings), **wire)
            assert relative_error(masks, expected_masks) < TOLERANCE, form
            assert relative_error(scores, expected_scores) < TOLERANCE, form


def test_the_most_prompts_that_there_may_be(shallow: Callable[[str], SamModel]) -> None:
    model = shallow("slimsam-77")
    rng = np.random.default_rng(5)
    embeddings = rng.normal(0, 1, (1, 256, 64, 64)).astype(np.float32)
    coords = rng.uniform(0, 1024, (MAX_PROMPTS, 1, 2)).astype(np.float32)
    labels = np.ones((MAX_PROMPTS, 1), np.int32)
    prompts = reference.make_prompts("points", coords, labels, absent=0)
    wire = {name: torch.from_numpy(value) for name, value in prompts.wire.items()}
    some = [0, MAX_PROMPTS // 2, MAX_PROMPTS - 1]  # `SamModel` takes long
    answer = reference.decode(
        model, embeddings[0], reference.make_prompts("points", coords[some], labels[some])
    )
    for form in DECODERS:
        masks, scores = form(model).eval().decode(torch.from_numpy(embeddings), **wire)
        assert relative_error(masks[0, some], answer.masks) < TOLERANCE, form
        assert relative_error(scores[0, some], answer.scores) < TOLERANCE, form


@pytest.mark.parametrize("form", DECODERS)
@pytest.mark.parametrize("kind", ["points", "box with points", "mask"])
def test_absent_points_change_nothing(
    shallow: Callable[[str], SamModel], kind: str, form: type[Decoder]
) -> None:
    decoder = form(shallow("slimsam-77")).eval()
    rng = np.random.default_rng(2)
    embeddings = torch.from_numpy(rng.normal(0, 1, (1, 256, 64, 64)).astype(np.float32))
    wire = {
        name: torch.from_numpy(value) for name, value in some_prompts(kind, 3, 2, rng).wire.items()
    }
    masks, scores = decoder.decode(embeddings, **wire)
    for absent in (1, 4, 60):
        padded = dict(wire)
        junk = torch.from_numpy(rng.uniform(0, 1e6, (1, 3, absent, 2)).astype(np.float32))
        padded["point_coords"] = torch.cat([wire["point_coords"], junk], dim=2)
        kinds = torch.full((1, 3, absent), ABSENT, dtype=torch.int32)
        padded["point_labels"] = torch.cat([wire["point_labels"], kinds], dim=2)
        more_masks, more_scores = decoder.decode(embeddings, **padded)
        assert relative_error(more_masks, masks) < 1e-5
        assert relative_error(more_scores, scores) < 1e-5


def test_a_mask_alone_is_a_prompt_without_points(shallow: Callable[[str], SamModel]) -> None:
    model = shallow("slimsam-77")
    mask = np.random.default_rng(3).normal(0, 5, (256, 256)).astype(np.float32)
    prompts = reference.make_prompts("mask", mask=mask, absent=2)
    embeddings = np.random.default_rng(4).normal(0, 1, (1, 256, 64, 64)).astype(np.float32)
    expected = model(
        image_embeddings=torch.from_numpy(embeddings),
        input_masks=torch.from_numpy(mask)[None, None],
    )
    wire = {name: torch.from_numpy(value) for name, value in prompts.wire.items()}
    for form in DECODERS:
        masks, scores = form(model).eval().decode(torch.from_numpy(embeddings), **wire)
        assert relative_error(masks[:, :, 1:], expected.pred_masks) < TOLERANCE, form
        assert relative_error(scores[:, :, 1:], expected.iou_scores) < TOLERANCE, form


def test_graphs_leave_the_model_as_it_was(shallow: Callable[[str], SamModel]) -> None:
    model = shallow("slimsam-77")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for form in (*ENCODERS, *DECODERS):
        form(model)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
