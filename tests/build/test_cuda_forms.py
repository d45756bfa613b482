"""The graphs that PyTorch and ONNX Runtime get on a CUDA device, on a CPU: numbers and layouts.

That a card takes the kernels which these layouts are for is not proved here: `make gpu` runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import SamModel

from slimsam_build import parity
from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.graphs import BoundedDecoder
from slimsam_build.graphs.aligned_encoder import ALIGNMENT
from slimsam_build.graphs.example import example_inputs
from slimsam_build.targets import FUSED_BY_PYTORCH, FUSED_FOR_ANY_SHAPE, TARGETS
from slimsam_build.targets.target import Graphs, Run
from slimsam_client.contract import DECODER, ENCODER, MAX_PROMPTS

FORMS = {"torchscript": FUSED_BY_PYTORCH, "onnxruntime": FUSED_FOR_ANY_SHAPE}


def load(target: str, graphs: Graphs, model: SamModel, precision: str, folder: Path) -> list[Run]:
    made = TARGETS[target]
    runs = []
    for spec, graph in graphs.items():
        path = folder / f"{spec.name}.{made.artifact}"
        made.export(graph(model).eval(), spec, path, precision)
        runs.append(made.load(path, spec, precision))
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "precision"),
    [("torchscript", "fp32"), ("torchscript", "bf16"), ("onnxruntime", "fp16")],
)
def test_they_pass_the_gate(target: str, precision: str, tmp_path: Path) -> None:
    model = load_checkpoint("demo").model
    graphs = {spec: FORMS[target][spec] for spec in (ENCODER, DECODER)}
    encoder, decoder = load(target, graphs, model, precision, tmp_path)
    measured = parity.measure(encoder, decoder, model, batches=True)
    parity.check(measured.figures, precision)


@pytest.mark.parametrize("target", FORMS)
def test_their_decoders_take_every_shape(
    target: str, shallow: Callable[[str], SamModel], tmp_path: Path
) -> None:
    graphs = {DECODER: FORMS[target][DECODER]}
    (run,) = load(target, graphs, shallow("slimsam-77"), "fp32", tmp_path)
    inputs = {t.name: example.numpy() for t, example in zip(
        DECODER.inputs, example_inputs(DECODER), strict=True
    )}  # fmt: skip
    for prompts, points in ((0, 1), (1, 0), (MAX_PROMPTS + 1, 1), (2, 3)):
        asked = {
            **inputs,
            "point_coords": np.ones((1, prompts, points, 2), np.float32),
            "point_labels": np.ones((1, prompts, points), np.int32),
        }
        found = run(asked)
        answered = min(prompts, MAX_PROMPTS)
        assert found["iou_predictions"].shape == (1, answered, 4)
        good = (prompts, points) == (2, 3)
        assert np.isnan(found["low_res_masks"]).all() != good or prompts == 0


@pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pytorchs_kernels_get_what_they_take_without_a_copy(
    shallow: Callable[[str], SamModel], precision: str, tmp_path: Path
) -> None:
    """Kernels that add a bias want head sizes in vectors, one dtype, and rows that are aligned."""
    path = tmp_path / "model.pt"
    graph = FUSED_BY_PYTORCH[ENCODER](shallow("slimsam-77")).eval()
    TARGETS["torchscript"].export(graph, ENCODER, path, precision)
    module = torch.jit.load(str(path))
    two = [torch.cat([example, example]) for example in example_inputs(ENCODER)]
    with torch.no_grad(), Attentions() as seen:
        module(*two)
    # Two layers of windows, and one of the whole grid in two parts.
    assert [keys for keys, _ in seen.shapes] == [196, 196, 4096, 4096]
    for query, key, value, bias in seen.calls:
        assert query.dtype == bias.dtype
        assert query.shape[3] % 8 == 0 and query.shape[3] == key.shape[3] == value.shape[3]
        assert all(tensor.stride(3) == 1 for tensor in (query, key, value, bias))
        assert all(bias.stride(axis) % ALIGNMENT == 0 for axis in range(3))


@pytest.mark.parametrize("graph", [FUSED_BY_PYTORCH[DECODER], BoundedDecoder])
def test_no_engine_is_built_for_a_number_of_prompts(
    shallow: Callable[[str], SamModel], graph: Callable[[SamModel], torch.nn.Module]
) -> None:
    """cuDNN generates one for each size and thread: half a second at its first on an H200."""
    decoder = graph(shallow("slimsam-77")).eval()
    with torch.no_grad(), Attentions() as seen:
        decoder(*example_inputs(DECODER))
    assert not seen.calls and seen.operators > 100


class Attentions(TorchDispatchMode):
    """Keeps what PyTorch's attention is given, beneath all that prepares it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[torch.Tensor, ...]] = []
        self.operators = 0

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [(call[1].shape[2], call[0].shape[3]) for call in self.calls]

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self.operators += 1
        if "scaled_dot_product" in str(function):
            self.calls.append((*args[:3], kwargs.get("attn_mask")))
        return function(*args, **kwargs)


def test_a_machine_with_cuda_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, form in FORMS.items():
        target = TARGETS[name]
        assert target.graphs_here == form and target.default_precision_here == "fp16"
        assert replace(target, graphs_with_cuda=None).graphs_here == target.graphs
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in (*FORMS, "openvino"):
        target = TARGETS[name]
        assert target.graphs_here == target.graphs and target.default_precision_here == "fp32"
