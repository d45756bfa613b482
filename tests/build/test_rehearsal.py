"""NVIDIA's own parser and builder, without a GPU: what they take, and what they fuse."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.errors import TargetError
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Job
from slimsam_build.targets.tensorrt import plan, rehearsal
from slimsam_build.targets.tensorrt.builder import Recipe
from slimsam_build.targets.tensorrt.parser import OPERATORS
from slimsam_client.contract import DECODER

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "fp32": TensorProto.FLOAT}


@pytest.fixture(autouse=True)
def _with_the_builder() -> None:
    if reason := rehearsal.missing():
        pytest.skip(reason)


def attention(
    path: Path,
    precision: str = "fp16",
    channels: int = 16,
    values: int | None = None,
    queries: int = 196,
    keys: int = 196,
    bias: tuple[int, ...] | None = None,
    axis: int = 3,
) -> Recipe:
    """Write an attention of 8 heads as the graphs have it, with its softmax in float32.

    Args:
        path: where the ONNX goes.
        precision: of everything else.
        channels: of a head's queries and keys.
        values: of a head's values, if it has others.
        queries: how many.
        keys: how many.
        bias: shape of what is added to the scores.
        axis: of the softmax.
    """
    half = TYPES[precision]
    sizes = {
        "q": [1, 8, queries, channels],
        "k": [1, 8, keys, channels],
        "v": [1, 8, keys, values or channels],
    }
    if bias is not None:
        sizes["bias"] = list(bias)
    scores = "biased" if bias else "scores"
    nodes = [
        helper.make_node("Transpose", ["k"], ["transposed"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "transposed"], ["scores"]),
        *([helper.make_node("Add", ["scores", "bias"], ["biased"])] if bias else []),
        helper.make_node("Cast", [scores], ["exact"], to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["exact"], ["weights"], axis=axis),
        helper.make_node("Cast", ["weights"], ["rounded"], to=half),
        helper.make_node("MatMul", ["rounded", "v"], ["attended"]),
    ]
    inputs = [helper.make_tensor_value_info(name, half, size) for name, size in sizes.items()]
    output = helper.make_tensor_value_info("attended", half, [*sizes["q"][:3], sizes["v"][3]])
    graph = helper.make_graph(nodes, "attention", inputs, [output])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path
    )
    return Recipe(path, [{name: (size, size, size) for name, size in sizes.items()}], precision)


FUSED = {
    "a window": {"bias": (1, 8, 196, 196)},
    "the whole grid": {"queries": 2048, "keys": 4096, "bias": (1, 8, 2048, 4096)},
    "bf16": {"precision": "bf16"},
    "heads of 14 channels": {"channels": 14},
    "tokens to tokens": {"queries": 7, "keys": 7, "channels": 32, "bias": (1, 1, 1, 7)},
    "tokens to the image": {"queries": 7, "keys": 4096},
    "the image to tokens": {"queries": 4096, "keys": 7, "bias": (1, 1, 1, 7)},
}
NOT_FUSED = {
    "float32": {"precision": "fp32"},
    "heads of 8 channels": {"channels": 8},
    "softmax over the queries": {"axis": 2},
    "wider values": {"values": 32},
}


@pytest.mark.parametrize("form", FUSED)
def test_attentions_of_the_graphs_are_one_kernel(form: str, tmp_path: Path) -> None:
    found = rehearsal.rehearse(attention(tmp_path / "model.onnx", **FUSED[form]))  # type: ignore[arg-type]
    assert found.complaints == ()
    assert [profile.attentions for profile in found.profiles] == [1]


@pytest.mark.parametrize("form", NOT_FUSED)
def test_attentions_in_other_forms_are_not(form: str, tmp_path: Path) -> None:
    """If one is fused in a newer TensorRT, a form that was avoided may be the better one."""
    found = rehearsal.rehearse(attention(tmp_path / "model.onnx", **NOT_FUSED[form]))  # type: ignore[arg-type]
    assert [profile.attentions for profile in found.profiles] == [0]


def test_the_parser_takes_the_operators_that_are_let_through() -> None:
    trt = importlib.import_module(rehearsal.MODULE)
    logger = trt.Logger(trt.Logger.WARNING)
    parser = trt.OnnxParser(trt.Builder(logger).create_network(0), logger)
    assert [name for name in sorted(OPERATORS) if not parser.supports_operator(name)] == []


def test_a_graph_that_the_parser_refuses(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    recipe = attention(path)
    model = onnx.load(path)
    model.graph.node[0].op_type = "Untransposed"
    onnx.save(model, path)
    with pytest.raises(TargetError, match="expected a graph that TensorRT parses.*Untransposed"):
        rehearsal.rehearse(recipe)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorRT-RTX drops timing caches
def test_plans_are_built_by_the_same_code(
    tmp_path: Path, empty_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT-RTX in TensorRT's place."""
    monkeypatch.setitem(sys.modules, "tensorrt", importlib.import_module(rehearsal.MODULE))
    demo, target = load_checkpoint("demo"), TARGETS["tensorrt"]
    exported = tmp_path / target.artifact
    target.export(target.graphs[DECODER](demo.model).eval(), DECODER, exported, "fp16")
    lines: list[str] = []
    job = Job(demo, target, "fp16", empty_repository, log=lines.append)
    plan.build_plan(job, DECODER, exported, tmp_path / "model.plan")
    assert (tmp_path / "model.plan").stat().st_size > exported.stat().st_size
    assert (job.place(DECODER) / plan.TIMING_CACHE).stat().st_size > 0
    assert lines[0].startswith("built slimsam_decoder/model.plan with TensorRT 1.")

    narrow = replace(job, workspace_mib=1)
    with pytest.raises(TargetError, match="built no plan.*--workspace MIB"):
        plan.build_plan(narrow, DECODER, exported, tmp_path / "other.plan")
    assert not (tmp_path / "other.plan").exists()
