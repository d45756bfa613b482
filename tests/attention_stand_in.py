"""The attention plugin's node for ONNX Runtime: the same function, in ONNX's own operators."""

from __future__ import annotations

from pathlib import Path

import onnx

FUNCTION = """
<opset_import: ["" : 17], domain: "slimsam">
grid_attention <aot, plugin_namespace, plugin_version> (qkv, rel_h, rel_w) => (attended) {
    queries, keys, values = Split <axis = 2> (qkv)
    two = Constant <value_ints = [2]> ()
    flat_queries = Squeeze (queries, two)
    flat_keys = Squeeze (keys, two)
    flat_values = Squeeze (values, two)
    q = Transpose <perm = [0, 2, 1, 3]> (flat_queries)
    k = Transpose <perm = [0, 2, 3, 1]> (flat_keys)
    v = Transpose <perm = [0, 2, 1, 3]> (flat_values)
    products = MatMul (q, k)
    by_rows = Transpose <perm = [2, 3, 0, 4, 1]> (rel_h)
    by_columns = Transpose <perm = [1, 2, 3, 0, 4]> (rel_w)
    four = Constant <value_ints = [4]> ()
    five = Constant <value_ints = [5]> ()
    every_column = Unsqueeze (by_rows, five)
    every_row = Unsqueeze (by_columns, four)
    pairs = Add (every_column, every_row)
    size = Shape (products)
    bias = Reshape (pairs, size)
    scores = Add (products, bias)
    exact = Cast <to = 1> (scores)
    softmax = Softmax <axis = 3> (exact)
    weights = CastLike (softmax, scores)
    means = MatMul (weights, v)
    attended = Transpose <perm = [0, 2, 1, 3]> (means)
}
"""


def with_stand_in(path: Path, other: Path) -> Path:
    """Copy an ONNX file that has the plugin's node, with a function in place of the plugin."""
    model = onnx.load(path)
    model.functions.append(onnx.parser.parse_function(FUNCTION))
    onnx.checker.check_model(model)
    onnx.save(model, other)
    return other
