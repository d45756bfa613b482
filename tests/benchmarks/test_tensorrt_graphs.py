"""What is read of the builder's list of kernels, on a graph whose sizes are known."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.tensorrt_graphs import describe, moved, operations
from slimsam_build.targets.tensorrt.builder import Recipe
from slimsam_build.targets.tensorrt.plan import profile_shapes
from slimsam_build.targets.tensorrt.rehearsal import missing, rehearse
from slimsam_client.contract import DECODER, ENCODER


def test_a_product_is_counted(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    sizes = {"a": [96, 64], "b": [64, 32], "c": [96, 32]}
    a, b, c = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, size)
        for name, size in sizes.items()
    )
    product = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([product], "product", [a, b], [c])
    path = tmp_path / "model.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path
    )
    shapes = {name: (sizes[name],) * 3 for name in ("a", "b")}
    (profile,) = rehearse(Recipe(path, [shapes], "fp16")).profiles
    assert sum(map(operations, profile.kernels)) == 2 * 96 * 64 * 32
    assert sum(map(moved, profile.kernels)) >= 2 * (96 * 64 + 64 * 32 + 96 * 32)
    assert profile.attentions == 0


def test_profiles_are_described() -> None:
    assert [describe(shapes) for shapes in profile_shapes(ENCODER, 8)] == ["1 image", "1 image"]
    assert describe(profile_shapes(DECODER, 8)[2]) == "1 image, 1 prompt each"
