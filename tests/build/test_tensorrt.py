"""Target tensorrt: the ONNX made for it, half precision, and what needs a GPU."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from transformers import SamModel

from slimsam_build import parity, plans
from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.errors import TargetError
from slimsam_build.graphs import Decoder, Encoder
from slimsam_build.graphs.precision import Graph, cast
from slimsam_build.repository import build
from slimsam_build.targets.run import Arrays, Run
from slimsam_build.targets.tensorrt_parser import check_for_tensorrt
from slimsam_client.contract import DECODER, ENCODER, ModelSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo() -> Checkpoint:
    return load_checkpoint("demo")


def test_slimsam_77_in_fp16(slimsam_77_checkpoint: Checkpoint, empty_repository: Path) -> None:
    built = build(slimsam_77_checkpoint, "tensorrt", "fp16", empty_repository)
    assert (built.precision, built.refused) == ("fp16", ())
    assert built.measured.figures.mask_iou_mean >= 0.995
    for spec in (ENCODER, DECODER):
        path = empty_repository / spec.name / "1" / "model.tensorrt.onnx"
        check_types(onnx.load(path).graph, TensorProto.FLOAT16)


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("bf16", 0.95)])
def test_the_other_precisions(
    slimsam_77_checkpoint: Checkpoint, empty_repository: Path, precision: str, least: float
) -> None:
    built = build(slimsam_77_checkpoint, "tensorrt", precision, empty_repository)
    assert built.precision == precision
    assert built.measured.figures.mask_iou_mean >= least
    half = TensorProto.BFLOAT16 if precision == "bf16" else TensorProto.FLOAT
    check_types(
        onnx.load(empty_repository / DECODER.name / "1" / "model.tensorrt.onnx").graph, half
    )


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


def test_half_precision_that_overflows_falls_back(demo: Checkpoint, empty_repository: Path) -> None:
    """In float32 the checkpoint is as it was; in float16 one layer's values are infinite."""
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


def test_without_tensorrt_the_command_says_how_to_go_on(empty_repository: Path) -> None:
    if plans.missing() is None:
        pytest.skip("this machine has TensorRT and a GPU")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "slimsam_build.cli", "--checkpoint", "demo"),
            *("--target", "tensorrt", "--model-repository", empty_repository),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 3
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and "docker run --rm --gpus all" in lines[0]
    for spec in (ENCODER, DECODER):
        assert (empty_repository / spec.name / "1" / "model.tensorrt.onnx").exists()
        assert not (empty_repository / spec.name / "1" / "model.plan").exists()


def test_plans(demo: Checkpoint, empty_repository: Path) -> None:
    if reason := plans.missing():
        pytest.skip(f"building plans needs TensorRT and a GPU: {reason}")
    built = build(demo, "tensorrt", "fp16", empty_repository)
    assert built.measured.figures.mask_iou_mean >= 0.995


@pytest.mark.parametrize("spec", [ENCODER, DECODER], ids=["encoder", "decoder"])
def test_profiles_cover_what_clients_send(spec: ModelSpec) -> None:
    profiles = plans.profile_shapes(spec, 8)
    for shapes in profiles:
        for least, best, most in shapes.values():
            assert all(a <= b <= c for a, b, c in zip(least, best, most, strict=True))
    if spec is DECODER:
        for prompts, points in ((1, 2), (8, 16), (9, 2), (64, 2), (64, 64), (1, 64)):
            asked = [8, prompts, points, 2]
            assert any(fits(asked, shapes["point_coords"]) for shapes in profiles)
        assert not any(fits([8, 65, 2, 2], shapes["point_coords"]) for shapes in profiles)


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
    demo: Checkpoint, slimsam_77: SamModel, precision: str
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
    model = demo.model if precision == "fp16" else slimsam_77
    encoder, decoder = running(Encoder(model), ENCODER), running(Decoder(model), DECODER)
    measured = parity.measure(encoder, decoder, model, batches=True)
    parity.check(measured.figures, precision)
