"""The decoder that is served, without a server: every request that Triton lets through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from raw_requests import FORBIDDEN, decoder_inputs, filled, nan_rows
from transformers import SamModel

from slimsam_build.graphs import AnyShapeDecoder, Decoder
from slimsam_build.graphs.precision import cast
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Run
from slimsam_client.contract import DECODER, Arrays
from slimsam_client.parity.figures import largest_difference

OUTPUTS = ("low_res_masks", "iou_predictions")


def eager(graph: torch.nn.Module) -> Run:
    """A graph as PyTorch runs it, before any exporter has seen it."""

    def run(arrays: Arrays) -> Arrays:
        outputs = graph(*(torch.from_numpy(arrays[tensor.name]) for tensor in DECODER.inputs))
        return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}

    return run


@pytest.fixture(scope="module")
def decoder_of(
    demo_model: SamModel, demo_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Run]:
    """Load the demo checkpoint's decoder for a target, or "eager", once."""
    loaded: dict[str, Run] = {}

    def load(name: str) -> Run:
        if name == "eager":
            return eager(AnyShapeDecoder(demo_model).eval())
        target = TARGETS[name]
        path = demo_repository / DECODER.name / "1" / target.artifact
        if name != "openvino":  # which the repository has
            path = tmp_path_factory.mktemp(name) / target.artifact
            target.export(target.graphs[DECODER](demo_model).eval(), DECODER, path, "fp32")
        return target.load(path, DECODER, "fp32")

    def once(name: str) -> Run:
        if name not in loaded:
            loaded[name] = load(name)
        return loaded[name]

    return once


FORMS = ("eager", "torchscript", "onnxruntime", "openvino")
# TorchScript runs the eager graph's own kernels: 16 prompts of NaN are computed there once.
CASES = [
    (form, what)
    for form in FORMS
    for what in FORBIDDEN
    if form != "torchscript" or not what.startswith(("P ", "2^30"))
]


@pytest.mark.parametrize(("form", "what"), CASES)
def test_what_the_contract_forbids_is_nan_and_nothing_else(
    form: str, what: str, decoder_of: Callable[[str], Run]
) -> None:
    make, refused = FORBIDDEN[what]
    answer = decoder_of(form)(make())
    masks, scores = (answer[name] for name in OUTPUTS)
    assert len(masks) == len(scores) == 1
    assert nan_rows(masks[0], scores[0]) == refused


@pytest.mark.parametrize("form", FORMS)
def test_a_forbidden_request_changes_none_that_follows(
    form: str, decoder_of: Callable[[str], Run]
) -> None:
    decoder, good = decoder_of(form), decoder_inputs(2, 3)
    before = decoder(good)
    for what in ("more labels than points", "N = 0", "NaN embedding"):
        decoder(FORBIDDEN[what][0]())
        after = decoder(good)
        assert all(np.array_equal(before[name], after[name]) for name in OUTPUTS), what


@pytest.mark.parametrize(("prompts", "points"), [(1, 1), (1, 2), (3, 7), (16, 64)])
def test_a_request_that_fits_is_answered_to_the_bit_as_by_the_decoder_alone(
    prompts: int, points: int, demo_model: SamModel, decoder_of: Callable[[str], Run]
) -> None:
    inputs: dict[str, Any] = decoder_inputs(prompts, points)
    inputs["point_labels"] = np.resize(
        np.array([1, 0, -1, -2, 2, 3, 1], np.int32), (1, prompts, points)
    )
    inputs["has_mask_input"] = np.ones((1, 1), np.float32)
    inputs["mask_input"] = np.random.default_rng(1).normal(0, 5, (1, 1, 256, 256)).astype("f4")
    expected, found = eager(Decoder(demo_model).eval())(inputs), decoder_of("eager")(inputs)
    for name in OUTPUTS:
        assert np.isfinite(expected[name]).all()
        assert np.array_equal(found[name], expected[name])


# All at once; one row after the other; nothing to compute.
@pytest.mark.parametrize(("prompts", "points"), [(2, 2), (9, 64), (0, 2)])
@pytest.mark.parametrize("form", ["torchscript", "onnxruntime"])
def test_rows_of_a_batch_are_answered_as_each_alone(
    form: str, prompts: int, points: int, decoder_of: Callable[[str], Run]
) -> None:
    row = decoder_inputs(prompts, points)
    batch = {name: np.concatenate([value, value[:, ::-1]]) for name, value in row.items()}
    decoder = decoder_of(form)
    found = decoder(batch)
    for index in range(2):
        alone = decoder({name: value[index : index + 1] for name, value in batch.items()})
        for name in OUTPUTS:
            assert found[name].shape == (2, *alone[name].shape[1:])
            if prompts:  # but for a step or two of half precision
                error = largest_difference(found[name][index], alone[name][0])
                assert error <= 2e-3 * np.abs(alone[name]).max(), name


def test_onnx_has_a_loop_for_onnx_runtime_and_none_for_tensorrt(
    demo_model: SamModel, tmp_path: Path
) -> None:
    found = {}
    for name in ("onnxruntime", "tensorrt"):
        path = tmp_path / f"{name}.onnx"
        graph = TARGETS[name].graphs[DECODER](demo_model).eval()
        TARGETS[name].export(graph, DECODER, path, "fp32")
        found[name] = [node.op_type for node in onnx.load(path).graph.node].count("Scan")
    assert found == {"onnxruntime": 1, "tensorrt": 0}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_mask_that_does_not_count_changes_no_bit(precision: str, demo_model: SamModel) -> None:
    decoder, plain = eager(cast(Decoder(demo_model), precision).eval()), decoder_inputs()
    expected = decoder(plain)
    for value in (1e6, -3e38, np.inf, np.nan):
        found = decoder(filled("mask_input", value))
        assert all(np.array_equal(found[name], expected[name]) for name in OUTPUTS), value


def test_half_precision_takes_logits_beyond_its_range(demo_model: SamModel) -> None:
    inside = np.zeros((256, 256), np.bool_)
    inside[60:200, 80:150] = True
    inputs: dict[str, Any] = {
        **decoder_inputs(),
        "mask_input": np.where(inside, 1e6, -1e6).astype(np.float32)[None, None],
        "has_mask_input": np.ones((1, 1), np.float32),
    }
    decoder = Decoder(demo_model).eval()
    expected, found = (eager(cast(decoder, precision))(inputs) for precision in ("fp32", "fp16"))
    for name in OUTPUTS:
        assert np.isfinite(found[name]).all()
        error = largest_difference(found[name], expected[name])
        assert error <= 2e-2 * np.abs(expected[name]).max(), name
