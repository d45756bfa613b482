"""slimsam_masks: the masks of the client's NumPy, for every target, and bounded work."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from transformers import SamModel

from slimsam_build import masks_parity
from slimsam_build.errors import ParityError
from slimsam_build.graphs import Masks
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Run
from slimsam_build.targets.tensorrt import plan, rehearsal
from slimsam_build.targets.tensorrt.builder import Recipe, build_serialized
from slimsam_client.contract import (
    LOW_RES_SIZE,
    MASKS,
    MAX_MASK_PIXELS,
    MAX_MASK_SIDE,
    MAX_PROMPTS,
    Arrays,
)
from slimsam_client.everything.in_graph import prompts_at_once


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    """The files of the targets that have been exported."""
    return {}


@pytest.fixture(scope="module")
def exported(
    demo_model: SamModel, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Run]:
    """Export the graph for a target, once."""
    done: dict[str, Run] = {}

    def make(name: str) -> Run:
        if name not in done:
            target = TARGETS[name]
            files[name] = path = tmp_path_factory.mktemp(name) / target.artifact
            target.export(target.graphs[MASKS](demo_model).eval(), MASKS, path, "fp32")
            done[name] = target.load(path, MASKS, "fp32")
        return done[name]

    return make


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_makes_the_masks_of_numpy(exported: Callable[[str], Run], target: str) -> None:
    run = exported(target)
    measured = masks_parity.measure(run)
    masks_parity.check(measured)
    assert measured.stability_error <= 1e-5


def request(prompts: int, height: int, width: int, chosen: list[int]) -> Arrays:
    """Ask for masks of which every logit is 1."""
    weights = np.full((1, 1, LOW_RES_SIZE), 1 / LOW_RES_SIZE, np.float32)
    return {
        "low_res_masks": np.ones((1, prompts, 4, LOW_RES_SIZE, LOW_RES_SIZE), np.float16),
        "row_weights": weights.repeat(height, 1),
        "column_weights": weights.repeat(width, 1),
        "stability_offset": np.full((1, 1), 0.5, np.float32),
        "chosen": np.array([chosen], np.int32),
    }


@pytest.mark.parametrize("target", ["torchscript", "onnxruntime", "openvino"])
def test_no_request_ends_in_an_error_or_costs_too_much(
    exported: Callable[[str], Run], target: str
) -> None:
    run = exported(target)
    refused: list[tuple[int, int, int, int]] = [
        (MAX_PROMPTS + 1, 8, 8, 1),
        (1, MAX_MASK_SIDE + 8, 8, 1),
        (1, 8, MAX_MASK_SIDE + 8, 1),
        (MAX_PROMPTS, 2048, 2056, 1),
        (1, 8, 8, MAX_MASK_PIXELS // 64 + 1),
        (2, 0, 8, 1),
        (2, 12, 8, 1),
        (2, 8, 12, 1),
    ]
    for prompts, height, width, count in refused:
        answer = run(request(prompts, height, width, [0] * count))
        assert answer["stability_score"].shape == (1, 0, 3), (prompts, height, width, count)
        assert answer["bits"].shape[1] == 0
    for prompts, chosen in ((0, [0]), (2, []), (2, [-1, 6, 5])):
        answer = run(request(prompts, 16, 24, chosen))
        assert answer["boxes"].shape == (1, prompts, 3, 4)
        assert answer["bits"].shape == (1, len(chosen), 16, 3)
        if prompts:
            assert (answer["bits"] == 255).all() and (answer["areas"] == 16 * 24).all()
            assert (answer["stability_score"] == 1).all()
            assert (answer["boxes"] == [0, 0, 23, 15]).all()


def test_logits_that_are_no_numbers_have_no_score() -> None:
    arrays = request(2, 8, 8, [0])
    arrays["low_res_masks"][0, 0] = np.nan
    found = Masks()(*(torch.from_numpy(array) for array in arrays.values()))
    stability, _, areas, bits = (tensor.numpy()[0] for tensor in found)
    assert np.isnan(stability[0]).all() and (stability[1] == 1).all()
    assert (areas[0] == 0).all() and not bits.any()


class Shifted(Masks):
    """A graph whose masks are larger than they should be."""

    def forward(self, low_res_masks: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Measure masks."""
        return super().forward(low_res_masks + 0.05, *others)


class Miscounted(Masks):
    """A graph that gives other areas than its masks have."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Measure masks."""
        stability, boxes, areas, bits = super().forward(*inputs)
        return stability, boxes, areas + areas // 1000, bits


@pytest.mark.parametrize("form", [Shifted, Miscounted])
def test_the_gate_refuses_a_graph_that_is_wrong(form: type[Masks]) -> None:
    graph = form()

    def run(arrays: Arrays) -> Arrays:
        found = graph(*(torch.from_numpy(arrays[tensor.name]) for tensor in MASKS.inputs))
        return {t.name: value.numpy() for t, value in zip(MASKS.outputs, found, strict=True)}

    with pytest.raises(ParityError, match="slimsam_masks: expected masks of IoU 0.9999"):
        masks_parity.check(masks_parity.measure(run))


def test_profiles_take_what_everything_mode_asks_for() -> None:
    profiles = plan.profile_shapes(MASKS, 1)
    for size in ((1, 1), (2048, 1365), (2049, 16), (4096, 4096), (4097, 8192)):
        prompts = prompts_at_once(size, MAX_PROMPTS)
        rows, columns = (-(-side // 8) * 8 for side in size)
        asked = {
            "low_res_masks": [1, prompts, 4, LOW_RES_SIZE, LOW_RES_SIZE],
            "row_weights": [1, rows, LOW_RES_SIZE],
            "column_weights": [1, columns, LOW_RES_SIZE],
            "chosen": [1, prompts],
        }
        assert any(
            all(
                low <= value <= high
                for name, shape in asked.items()
                for low, value, high in zip(shapes[name][0], shape, shapes[name][2], strict=True)
            )
            for shapes in profiles
        ), size
    assert prompts_at_once((8193, 8), MAX_PROMPTS) == 0


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_onnx_declares_the_sizes_that_triton_compares(
    exported: Callable[[str], Run], files: dict[str, Path], target: str
) -> None:
    exported(target)
    graph = onnx.load(files[target]).graph
    for value, tensor in zip(
        (*graph.input, *graph.output), (*MASKS.inputs, *MASKS.outputs), strict=True
    ):
        batch, *dims = value.type.tensor_type.shape.dim
        assert batch.dim_param
        assert [dim.dim_value or -1 for dim in dims] == list(tensor.dims)


def test_an_engine_has_the_batch_axis_that_triton_asks_for(
    exported: Callable[[str], Run], files: dict[str, Path]
) -> None:
    """TensorRT makes a constant of an axis that has one size in all profiles."""
    if reason := rehearsal.missing():
        pytest.skip(reason)
    trt: Any = importlib.import_module(rehearsal.MODULE)
    heard: list[str] = []

    class Listener(trt.ILogger):
        """Keeps what the builder says."""

        def log(self, severity: Any, message: str) -> None:
            heard.extend(message.splitlines())

    logger = Listener()
    logger.min_severity = trt.ILogger.Severity.VERBOSE
    exported("tensorrt")
    profiles = plan.profile_shapes(MASKS, 1)[-1:]
    build_serialized(trt, logger, Recipe(files["tensorrt"], profiles, "fp32", detailed=True))
    told = [re.search(r"Name: (\w+), IOMode: .*?Dimensions: \[(.*?)\]", line) for line in heard]
    axes = {found[1]: found[2].split(",")[0] for found in told if found}
    assert axes == {tensor.name: "-1" for tensor in (*MASKS.inputs, *MASKS.outputs)}
