"""Batches of the decoder that have many prompts: computed row by row, so that memory is bounded.

Triton makes batches of requests that know nothing of each other. Eight clicks are computed at once,
which a GPU gains from; eight requests of 16 prompts are 128 prompts, which take gigabytes and gain
nothing. Triton counts rows, and no prompts, so the artifact itself has the bound: a batch of more
prompts or points than `MOST_PROMPTS` and `MOST_POINTS` is computed in a loop.

Two ways to say so: TorchScript keeps a Python loop, and ONNX has the operator Scan. TensorRT fuses
across neither, and OpenVINO's backend has no batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import compose, helper, numpy_helper
from torch import Tensor, nn

from slimsam_client.contract import MAX_POINTS, MAX_PROMPTS

MOST_PROMPTS: Final = 64
"""Eight users' requests of eight prompts are computed at once."""
MOST_POINTS: Final = MAX_PROMPTS * MAX_POINTS
"""As many as one request may have."""
PREFIX: Final = "rows/"
"""Of every name inside the loop: ONNX wants them to differ from those outside."""


class RowByRow(nn.Module):
    """A decoder's traced graph, for batches of any number of prompts; to be scripted.

    Args:
        decoder: computes a batch at once.
    """

    def __init__(self, decoder: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.decoder = decoder
        self.most_prompts: int = MOST_PROMPTS
        self.most_points: int = MOST_POINTS

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode prompts; inputs and outputs are `slimsam_build.graphs.Decoder`'s."""
        rows = point_coords.size(0)
        prompts = rows * point_coords.size(1)
        points = prompts * point_coords.size(2)
        step = rows if prompts <= self.most_prompts and points <= self.most_points else 1
        masks = []
        scores = []
        for row in range(0, rows, step):
            some_masks, some_scores = self.decoder(
                image_embeddings[row : row + step],
                point_coords[row : row + step],
                point_labels[row : row + step],
                mask_input[row : row + step],
                has_mask_input[row : row + step],
            )
            masks.append(some_masks)
            scores.append(some_scores)
        if step == rows:  # without a copy
            return masks[0], scores[0]
        return torch.cat(masks), torch.cat(scores)


def scan_rows(path: Path) -> None:
    """Put a decoder's ONNX graph into a Scan over the rows of its inputs, in its file.

    The rows (B, ...) become (steps, B / steps, ...): one step of all rows, or B steps of one.
    """
    model = onnx.load(path)
    body = compose.add_prefix(model, PREFIX).graph
    nodes = [
        *_steps(),
        helper.make_node(
            "Scan",
            [f"{each.name}_of_steps" for each in model.graph.input],
            [f"{each.name}_of_steps" for each in model.graph.output],
            body=body,
            num_scan_inputs=len(model.graph.input),
        ),
    ]
    for each in model.graph.input:
        nodes[-1:-1] = _reshape(each.name, f"{each.name}_of_steps", "steps_and_rows", 1)
    for each in model.graph.output:
        nodes += _reshape(f"{each.name}_of_steps", each.name, "rows", 2)
    constants = {
        "zero": [0],
        "one": [1],
        "two": [2],
        "three": [3],
        "end": [np.iinfo(np.int64).max],
        "most_prompts": [MOST_PROMPTS],
        "most_points": [MOST_POINTS],
    }
    initializers = [
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "decoder", model.graph.input, model.graph.output, initializers)
    scanning = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    onnx.checker.check_model(scanning)
    onnx.save(scanning, path)


def _steps() -> list[onnx.NodeProto]:
    """Compute `rows`, the batch's, and `steps_and_rows`, of one step, both as shapes."""
    return [
        helper.make_node("Shape", ["point_coords"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["rows"]),
        helper.make_node("Slice", ["shape", "one", "two"], ["prompts_of_row"]),
        helper.make_node("Slice", ["shape", "two", "three"], ["points_of_prompt"]),
        helper.make_node("Mul", ["rows", "prompts_of_row"], ["prompts"]),
        helper.make_node("Mul", ["prompts", "points_of_prompt"], ["points"]),
        helper.make_node("LessOrEqual", ["prompts", "most_prompts"], ["few_prompts"]),
        helper.make_node("LessOrEqual", ["points", "most_points"], ["few_points"]),
        helper.make_node("And", ["few_prompts", "few_points"], ["at_once"]),
        helper.make_node("Where", ["at_once", "one", "rows"], ["steps"]),
        helper.make_node("Where", ["at_once", "rows", "one"], ["rows_of_step"]),
        helper.make_node("Concat", ["steps", "rows_of_step"], ["steps_and_rows"], axis=0),
    ]


def _reshape(tensor: str, reshaped: str, first: str, kept_from: int) -> list[onnx.NodeProto]:
    """Give a tensor other first dims, and its own from `kept_from` (1 or 2) on."""
    start = {1: "one", 2: "two"}[kept_from]
    return [
        helper.make_node("Shape", [tensor], [f"{tensor}_shape"]),
        helper.make_node("Slice", [f"{tensor}_shape", start, "end"], [f"{tensor}_kept"]),
        helper.make_node("Concat", [first, f"{tensor}_kept"], [f"{reshaped}_shape"], axis=0),
        # A dim of 0 is no prompts, and not the input's.
        helper.make_node("Reshape", [tensor, f"{reshaped}_shape"], [reshaped], allowzero=1),
    ]
