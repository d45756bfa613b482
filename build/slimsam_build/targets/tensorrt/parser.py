"""What TensorRT's ONNX parser takes, checked where there is no TensorRT.

Exporters produce graphs that run everywhere else and fail in TensorRT's builder, an hour later and
on another machine: OneHot from `repeat_interleave`, shapes computed from values, loops. The table
of operators is that of the parser's own documentation (onnx/onnx-tensorrt, docs/operators.md), of
which it names what SAM can need; LayerNormalization is in it since TensorRT 8.6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnx

from slimsam_build.errors import TargetError
from slimsam_build.graphs.axes import AXES

OPERATORS: Final = frozenset(
    "Abs Add And Cast Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Div Einsum Equal "
    "Erf Exp Expand Flatten Floor Gather Gemm Greater GreaterOrEqual Identity LayerNormalization "
    "Less LessOrEqual Log MatMul Max Mean Min Mul Neg Not Or Pad Pow ReduceMax ReduceMean "
    "ReduceMin ReduceSum Relu Reshape Resize Shape Sigmoid Sin Size Slice Softmax Split Sqrt "
    "Squeeze Sub Sum Tanh Tile Transpose Unsqueeze Where Xor".split()
)
"""If, Loop, Scan, Scatter and NonZero are left out: some releases take them, none fuses across."""

SHAPE_INPUTS: Final = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1,),
    "Reshape": (1,),
    "Resize": (2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that give a shape: they may come from shapes and constants, not from a tensor's values."""
MOST_DIMS: Final = 8
"""Dims of a tensor, at most (nvinfer1::Dims::MAX_DIMS)."""


def check_for_tensorrt(path: Path, plugins: frozenset[str] = frozenset()) -> None:
    """Check an ONNX file against what TensorRT's parser takes.

    Args:
        path: of the file.
        plugins: names of nodes that plugins take.

    Raises:
        TargetError: an operator is not supported, a shape depends on values, a tensor has too many
            dims, or a dim of an input or output is dynamic beyond the batch and the contract's
            free axes.
    """
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    problems = []
    unknown = sorted({node.op_type for node in graph.node} - OPERATORS - plugins)
    if unknown:
        problems.append(f"operators {', '.join(unknown)}")
    problems += [f"shape of {name} computed from values" for name in _value_shapes(graph)]
    for value in graph.value_info:
        if len(value.type.tensor_type.shape.dim) > MOST_DIMS:
            problems.append(f"{value.name} has more than {MOST_DIMS} dims")
    for value in (*graph.input, *graph.output):
        names = {dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param}
        if not names <= {"batch", *AXES}:
            problems.append(f"{value.name} has dynamic dims {', '.join(sorted(names))}")
    if problems:
        raise TargetError(
            f"{path.name}: expected only what TensorRT's ONNX parser takes, found "
            f"{'; '.join(problems[:5])}; change the graph"
        )


def _value_shapes(graph: onnx.GraphProto) -> list[str]:
    """Names of nodes whose shape depends on the values, not the shapes, of the graph's inputs."""
    from_values = {tensor.name for tensor in graph.input}
    found = []
    for node in graph.node:
        shaping = SHAPE_INPUTS.get(node.op_type, ())
        if any(node.input[i] in from_values for i in shaping if i < len(node.input)):
            found.append(node.name or node.op_type)
        if node.op_type not in ("Shape", "Size") and from_values.intersection(node.input):
            from_values.update(node.output)
    return found
