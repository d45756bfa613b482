"""Target tensorrt: the ONNX made for it, half precision, and what needs a GPU."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import copy_repository
from onnx import TensorProto, helper
from transformers import SamModel

from slimsam_build import parity, reference
from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.cli import main
from slimsam_build.errors import ParityError, TargetError
from slimsam_build.graphs.precision import Graph, cast
from slimsam_build.pipeline import Built, build
from slimsam_build.repository import BUILT, max_batch_size
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Run
from slimsam_build.targets.tensorrt import plan, rehearsal
from slimsam_build.targets.tensorrt.parser import check_for_tensorrt
from slimsam_client.contract import (
    DECODER,
    ENCODER,
    MASKS,
    MAX_POINTS,
    MAX_PROMPTS,
    Arrays,
    ModelSpec,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo() -> Checkpoint:
    return load_checkpoint("demo")


@dataclass
class Made:
    """A build for TensorRT, what it said, and what NVIDIA's builder made of its files."""

    repository: Path
    lines: list[str] = field(default_factory=list)
    rehearsed: list[rehearsal.Rehearsed] = field(default_factory=list)
    built: Built = field(init=False)

    def build(self, checkpoint: Checkpoint, precision: str) -> Made:
        """Build, and keep what the rehearsal finds."""

        def rehearse(*arguments: Any) -> rehearsal.Rehearsed:
            self.rehearsed.append(found := rehearse_for_real(*arguments))
            return found

        rehearse_for_real = rehearsal.rehearse
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rehearsal, "rehearse", rehearse)
            self.built = build(
                checkpoint, "tensorrt", precision, self.repository, self.lines.append
            )
        return self

    def graph(self, spec: ModelSpec) -> onnx.GraphProto:
        """Load the ONNX of a model."""
        return onnx.load(self.repository / spec.name / "1" / "model.tensorrt.onnx").graph


@pytest.fixture(scope="module")
def in_fp16(
    demo: Checkpoint, slimsam_77_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Made]:
    """Build a checkpoint in half precision, once."""
    checkpoints = {"demo": demo, "slimsam-77": slimsam_77_checkpoint}
    done: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in done:
            made = Made(copy_repository(tmp_path_factory.mktemp(name)))
            done[name] = made.build(checkpoints[name], "fp16")
        return done[name]

    return make


@pytest.mark.parametrize("name", ["demo", "slimsam-77"])
def test_fp16_passes_the_gate(in_fp16: Callable[[str], Made], name: str) -> None:
    made = in_fp16(name)
    assert (made.built.precision, made.built.refused) == ("fp16", ())
    assert made.built.measured.figures.mask_iou_mean >= 0.995
    for spec in (ENCODER, DECODER):
        check_types(made.graph(spec), TensorProto.FLOAT16)


# Kernels and MiB of scratch memory, at most, by profile; and kernels that are whole attentions.
MASKS_BOUNDS = ([(75, 1200)] * 4, 0)
BOUNDS = {
    "demo": (
        ([(90, 70), (96, 900)], 8),
        ([(83, 30), (88, 110), (87, 220), (87, 1600)], 7),
        MASKS_BOUNDS,
    ),
    # Eight layers of windows, and four of the whole grid in two parts each.
    "slimsam-77": (
        ([(170, 230), (182, 1800)], 16),
        ([(83, 30), (88, 110), (87, 220), (87, 1600)], 7),
        MASKS_BOUNDS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_nvidias_builder_fuses_every_attention(in_fp16: Callable[[str], Made], name: str) -> None:
    if reason := rehearsal.missing():
        pytest.skip(reason)
    made = in_fp16(name)
    for found, (bounds, attentions) in zip(made.rehearsed, BOUNDS[name], strict=True):
        assert found.complaints == ()
        for profile, (kernels, mebibytes) in zip(found.profiles, bounds, strict=True):
            assert profile.nodes == 1
            assert profile.attentions == attentions
            assert attentions < len(profile.kernels) <= kernels
            assert 0 < profile.scratch_bytes <= mebibytes << 20
    said = "\n".join(made.lines)
    assert f"slimsam_decoder, profile 3: {len(made.rehearsed[1].profiles[3].kernels)} kern" in said
    assert said.count("not proved without a GPU: that a plan runs") == 3


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("bf16", 0.985)])
def test_the_other_precisions(
    shallow: Callable[[str], SamModel], empty_repository: Path, precision: str, least: float
) -> None:
    checkpoint = Checkpoint("shallow", shallow("slimsam-77"), "0" * 64)
    made = Made(empty_repository).build(checkpoint, precision)
    assert made.built.precision == precision
    assert made.built.measured.figures.mask_iou_mean >= least
    half = TensorProto.BFLOAT16 if precision == "bf16" else TensorProto.FLOAT
    check_types(made.graph(DECODER), half)
    for found, attentions in zip(made.rehearsed, (4, 7), strict=False):
        assert found.complaints == ()
        # No kernel of NVIDIA's has a whole attention in float32.
        expected = attentions if precision == "bf16" else 0
        assert {profile.attentions for profile in found.profiles} == {expected}


def check_types(graph: onnx.GraphProto, half: int) -> None:
    """Products of weights are in the precision; LayerNorm and softmax are in float32."""
    graph = onnx.shape_inference.infer_shapes(helper.make_model(graph)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    by_operator: dict[str, list[int]] = {}
    for node in graph.node:
        by_operator.setdefault(node.op_type, []).append(types.get(node.output[0], 0))
    assert set(by_operator["LayerNormalization"]) == {TensorProto.FLOAT}
    assert set(by_operator["Softmax"]) == {TensorProto.FLOAT}
    found = by_operator["MatMul"]
    assert found.count(half) > 0.8 * len(found)


def test_bf16_has_a_bound_of_its_own_and_fp16_is_the_default() -> None:
    target = TARGETS["tensorrt"]
    assert target.default_precision_here == "fp16"
    assert (target.bounds["bf16"].mask_iou_mean, target.bounds["bf16"].mask_iou_min) == (
        0.985,
        0.95,
    )
    passes_elsewhere = parity.Figures(1e-2, 0.98, 0.9, 1e-2)
    parity.check(passes_elsewhere, "bf16")
    with pytest.raises(ParityError, match=r"mask_iou_mean 0\.98, expected at least 0\.985"):
        parity.check(passes_elsewhere, "bf16", target.bounds)


def test_half_precision_that_overflows_falls_back(
    demo: Checkpoint, empty_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 the checkpoint is as it was; in float16 one layer's values are infinite."""
    click = reference.all_prompts()[:1]  # every other prompt would say the same
    monkeypatch.setattr(reference, "all_prompts", lambda: click)
    monkeypatch.setattr(rehearsal, "missing", lambda: "other tests have it")
    model = copy.deepcopy(demo.model)
    mlp = model.vision_encoder.layers[2].mlp
    # GELU is the identity far above 0, so that the second product takes the added value off again.
    mlp.lin2.bias.data -= mlp.lin2.weight.data[:, 0] * 1e5
    mlp.lin1.weight.data[0] = 0
    mlp.lin1.bias.data[0] = 1e5
    lines: list[str] = []
    overflowing = Checkpoint(demo.name, model, demo.sha256)
    built = build(overflowing, "tensorrt", "fp16", empty_repository, lines.append)
    assert built.precision == "fp32"
    assert len(built.refused) == 1 and built.refused[0].startswith("parity gate, fp16: ")
    assert any(line.endswith("building fp32 instead") for line in lines)
    report = empty_repository / ENCODER.name / "1" / "model.tensorrt.onnx.json"
    content = json.loads(report.read_text())
    assert content["precision"] == "fp32" and content["refused"] == list(built.refused)


def test_without_tensorrt_the_command_says_how_to_go_on(
    empty_repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if plan.missing() is None:
        pytest.skip("this machine has TensorRT and a GPU")
    monkeypatch.setattr(rehearsal, "missing", lambda: "its packages are not installed")
    options = ["build", "--checkpoint", "demo", "--target", "tensorrt"]
    assert main([*options, "--model-repository", str(empty_repository)]) == 3
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and "docker run --rm --gpus all" in lines[0]
    assert "not tried with NVIDIA's builder: its packages are not installed" in captured.out
    for spec in (ENCODER, DECODER):
        assert (empty_repository / spec.name / "1" / "model.tensorrt.onnx").exists()
        assert not (empty_repository / spec.name / "1" / "model.plan").exists()


def test_plans(demo: Checkpoint, empty_repository: Path) -> None:
    if reason := plan.missing():
        pytest.skip(f"building plans needs TensorRT and a GPU: {reason}")
    built = build(demo, "tensorrt", "fp16", empty_repository)
    assert built.measured.figures.mask_iou_mean >= 0.995


@pytest.mark.parametrize("rows", [1, 8, 32])
def test_profiles_are_in_order(rows: int) -> None:
    for spec in (ENCODER, DECODER):
        for shapes in plan.profile_shapes(spec, rows):
            assert set(shapes) == {tensor.name for tensor in spec.inputs}
            for least, best, most in shapes.values():
                assert all(a <= b <= c for a, b, c in zip(least, best, most, strict=True))


@pytest.mark.parametrize(
    "spec", [spec for spec in BUILT if spec != MASKS], ids=lambda spec: spec.name
)
def test_every_batch_that_triton_may_form_fits_a_profile(
    spec: ModelSpec, empty_repository: Path
) -> None:
    """All inputs of a batch at once; of the plan of each model, of which two decoders have one.

    What the masks' plan takes has a test with its limits, in test_masks.py.
    """
    most = max_batch_size(empty_repository, spec, "tensorrt")
    assert most <= max_batch_size(empty_repository, DECODER, "tensorrt")
    plan_of = ENCODER if spec == ENCODER else DECODER
    profiles = plan.profile_shapes(plan_of, max_batch_size(empty_repository, plan_of, "tensorrt"))

    def fitting(rows: int, prompts: int, points: int) -> bool:
        asked = {}
        for tensor in spec.inputs:
            free = iter((prompts, points))
            asked[tensor.name] = [rows, *(next(free) if dim == -1 else dim for dim in tensor.dims)]
        return any(
            all(fits(shape, shapes[name]) for name, shape in asked.items()) for shapes in profiles
        )

    sizes = [(1, 1)]
    if spec != ENCODER:
        sizes = list(itertools.product(range(1, MAX_PROMPTS + 1), range(1, MAX_POINTS + 1)))
        for outside in ((1, 0, 1), (1, MAX_PROMPTS + 1, 1), (1, 1, MAX_POINTS + 1)):
            assert not fitting(*outside), outside
    for rows in range(1, most + 1):
        for prompts, points in sizes:
            assert fitting(rows, prompts, points), (rows, prompts, points)


@pytest.mark.parametrize(
    ("rows", "prompts", "points", "number"),
    [(1, 1, 2, 0), (1, 1, 16, 0), (1, 1, 64, 2), (8, 1, 2, 1), (2, 1, 4, 1), (1, 16, 2, 2),
     (1, 2, 2, 2), (2, 16, 2, 3), (8, 16, 64, 3)],
)  # fmt: skip
def test_what_comes_often_has_a_profile_of_its_own(
    rows: int, prompts: int, points: int, number: int
) -> None:
    """Triton takes the nearest, by the sum of differences from the best shapes of all inputs."""
    distances = {}
    for index, shapes in enumerate(plan.profile_shapes(DECODER, 8)):
        asked = {name: [rows, *best[1:]] for name, (_, best, _) in shapes.items()}
        asked["point_coords"][1:3] = asked["point_labels"][1:3] = prompts, points
        if all(fits(shape, shapes[name]) for name, shape in asked.items()):
            distances[index] = sum(
                abs(a - b)
                for name, shape in asked.items()
                for a, b in zip(shape, shapes[name][1], strict=True)
            )
    assert min(distances, key=lambda index: distances[index]) == number


def fits(asked: list[int], shapes: tuple[list[int], ...]) -> bool:
    return all(a <= b <= c for a, b, c in zip(shapes[0], asked, shapes[2], strict=True))


def graph_of(*nodes: onnx.NodeProto, dim: str | int = "batch") -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [dim, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "graph", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def constant(name: str, values: list[int]) -> onnx.NodeProto:
    return helper.make_node(
        "Constant", [], [name], value=onnx.numpy_helper.from_array(np.array(values, np.int64))
    )


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (graph_of(helper.make_node("NonZero", ["x"], ["y"])), "operators NonZero"),
        (
            graph_of(
                helper.make_node("Cast", ["x"], ["s"], to=TensorProto.INT64),
                helper.make_node("Reshape", ["x", "s"], ["y"], name="reshape"),
            ),
            "shape of reshape computed from values",
        ),
        (graph_of(helper.make_node("Relu", ["x"], ["y"]), dim="width"), "x has dynamic dims width"),
        (
            graph_of(
                constant("s", [1] * 8 + [-1]),
                helper.make_node("Reshape", ["x", "s"], ["z"]),
                helper.make_node("Relu", ["z"], ["y"]),
            ),
            "z has more than 8 dims",
        ),
    ],
    ids=["operator", "value shape", "dynamic dim", "dims"],
)  # fmt: skip
def test_graphs_that_tensorrt_would_refuse(
    tmp_path: Path, model: onnx.ModelProto, found: str
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(TargetError, match=found):
        check_for_tensorrt(path)


def test_a_shape_from_a_shape_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shape = helper.make_node("Shape", ["x"], ["s"])
    reshape = helper.make_node("Reshape", ["x", "s"], ["z"])
    onnx.save(graph_of(shape, reshape, helper.make_node("Relu", ["x"], ["y"])), path)
    check_for_tensorrt(path)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_graphs_rounded_at_every_step_pass_too(
    demo: Checkpoint, shallow: Callable[[str], SamModel], precision: str
) -> None:
    """ONNX Runtime's CPU computes halves in float32 where it can; PyTorch rounds each result."""

    def running(graph: Graph, spec: ModelSpec) -> Run:
        half = cast(graph.eval(), precision)

        def run(arrays: Arrays) -> Arrays:
            found = half(*(torch.from_numpy(arrays[tensor.name]) for tensor in spec.inputs))
            outputs = found if isinstance(found, tuple) else (found,)
            return {t.name: o.numpy() for t, o in zip(spec.outputs, outputs, strict=True)}

        return run

    # PyTorch's float16 is slow on a CPU, so that one is measured on the smaller model.
    model = demo.model if precision == "fp16" else shallow("slimsam-77")
    graphs = TARGETS["tensorrt"].graphs
    encoder, decoder = (running(graphs[spec](model), spec) for spec in (ENCODER, DECODER))
    measured = parity.measure(encoder, decoder, model, batches=True)
    parity.check(measured.figures, precision, TARGETS["tensorrt"].bounds)
