"""AOTInductor's packages, without a server: the gates, batches, and every request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from raw_requests import FORBIDDEN, decoder_inputs, nan_rows
from transformers import SamModel

from slimsam_build import masks_parity, parity
from slimsam_build.graphs import AnyShapeMasks, BoundedDecoder, Decoder
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Run
from slimsam_client.contract import DECODER, ENCODER, MASKS, Arrays, ModelSpec
from slimsam_client.parity.figures import largest_difference

pytestmark = pytest.mark.slow
TARGET = TARGETS["torch_aoti"]
OUTPUTS = ("low_res_masks", "iou_predictions")


def load(repository: Path, spec: ModelSpec) -> Run:
    return TARGET.load(repository / spec.name / "1" / TARGET.artifact, spec, "fp32")


@pytest.fixture(scope="module")
def decoder(demo_aoti: Path) -> Run:
    return load(demo_aoti, DECODER)


def test_the_packages_pass_the_gate_in_batches(
    demo_aoti: Path, decoder: Run, demo_model: SamModel
) -> None:
    measured = parity.measure(load(demo_aoti, ENCODER), decoder, demo_model, batches=True)
    parity.check(measured.figures, "fp32", TARGET.bounds)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_the_contract_forbids_is_nan_and_nothing_else(what: str, decoder: Run) -> None:
    make, refused = FORBIDDEN[what]
    answer = decoder(make())
    masks, scores = (answer[name] for name in OUTPUTS)
    assert len(masks) == len(scores) == 1
    assert nan_rows(masks[0], scores[0]) == refused


@pytest.mark.parametrize(
    ("rows", "prompts", "points"), [(1, 1, 1), (2, 1, 2), (3, 2, 1), (8, 1, 2), (2, 3, 7)]
)
def test_rows_and_prompts_are_the_decoders(
    rows: int, prompts: int, points: int, demo_model: SamModel, decoder: Run
) -> None:
    rng = np.random.default_rng(rows)
    one = decoder_inputs(prompts, points)
    inputs = {name: np.repeat(value, rows, 0) for name, value in one.items()}
    inputs["image_embeddings"] = rng.normal(0, 1, (rows, 256, 64, 64)).astype(np.float16)
    inputs["point_coords"] = rng.uniform(0, 1024, (rows, prompts, points, 2)).astype(np.float32)
    inputs["mask_input"] = rng.normal(0, 5, (rows, 1, 256, 256)).astype(np.float32)
    inputs["has_mask_input"] = rng.integers(0, 2, (rows, 1)).astype(np.float32)
    given = [torch.from_numpy(inputs[tensor.name]) for tensor in DECODER.inputs]
    expected = Decoder(demo_model).eval()(*given)
    for graph in (decoder(inputs), _named(BoundedDecoder(demo_model).eval()(*given))):
        for name, values in zip(OUTPUTS, expected, strict=True):
            assert graph[name].shape == tuple(values.shape)
            # But for a step or two of half precision.
            error = largest_difference(graph[name], values.numpy())
            assert error <= 2e-3 * float(values.abs().max()), name


def _named(outputs: tuple[torch.Tensor, ...]) -> Arrays:
    return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}


def test_the_masks_pass_their_gate_and_take_every_size(demo_aoti: Path) -> None:
    masks = load(demo_aoti, MASKS)
    masks_parity.check(masks_parity.measure(masks))
    expected = AnyShapeMasks().eval()
    rng = np.random.default_rng(0)
    for prompts, height, width, chosen in (
        (3, 16, 24, 4),
        (1, 8, 8, 1),
        (0, 8, 8, 1),
        (2, 8, 16, 0),
        (2, 0, 8, 1),
        (2, 12, 8, 1),
        (17, 8, 8, 1),
        (1, 8200, 8, 1),
        (16, 4096, 4096, 1),
    ):
        sizes = (prompts, height, width, chosen)
        inputs: Arrays = {
            "low_res_masks": rng.normal(0, 1, (1, prompts, 4, 256, 256)).astype(np.float16),
            "row_weights": rng.random((1, height, 256)).astype(np.float32),
            "column_weights": rng.random((1, width, 256)).astype(np.float32),
            "stability_offset": np.ones((1, 1), np.float32),
            "chosen": np.arange(chosen, dtype=np.int32)[None],
        }
        found = masks(inputs)
        answer = expected(*(torch.from_numpy(inputs[tensor.name]) for tensor in MASKS.inputs))
        for tensor, values in zip(MASKS.outputs, answer, strict=True):
            assert found[tensor.name].shape == tuple(values.shape), sizes
            # Sums of another order move what is near a threshold.
            if values.numel():
                difference = np.abs(found[tensor.name].astype(float) - values.numpy())
                assert np.nanmean(difference) <= 1, (sizes, tensor.name)
