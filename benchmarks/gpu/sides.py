"""The sides that are timed: each gives calls that leave tensors on the device.

`SamModel` and our graphs in PyTorch need nothing but PyTorch and transformers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import SamModel

from benchmarks.comparison.interleave import Call
from benchmarks.gpu import inputs
from slimsam_build.graphs import AlignedEncoder, AnyShapeFusedDecoder
from slimsam_build.graphs.example import example_inputs
from slimsam_build.graphs.precision import DTYPES, cast
from slimsam_client.contract import DECODER, ENCODER, NUM_MASKS, ModelSpec

OnDevice = Callable[..., Any]
"""A model's tensors of the contract, in its order, to its outputs."""
GRAPHS: Final[Mapping[ModelSpec, Callable[[SamModel], nn.Module]]] = {
    ENCODER: AlignedEncoder,
    DECODER: AnyShapeFusedDecoder,
}


@dataclass(frozen=True)
class Side:
    """What one side does with a batch of the picture, and with clicks on its embedding.

    Attributes:
        encode: for a number of images, a call that gives their embeddings.
        decode: for a number of clicks, a call that gives three masks' logits and scores of each.
    """

    encode: Callable[[int], Call]
    decode: Callable[[int], Call]


def sam_model(model: SamModel, device: str, precision: str, compiled: bool = False) -> Side:
    """`SamModel` with PyTorch's own attention.

    Args:
        model: float32, on the CPU; it is copied.
        device: where it computes.
        precision: a key of `DTYPES`.
        compiled: with its encoder compiled as segment-anything-fast's settings have it: bfloat16,
            attention by PyTorch with an added bias, "max-autotune" (README and `tools.py` of
            pytorch-labs/segment-anything-fast). Its own kernel for the bias is not among settings.
    """
    dtype = DTYPES[precision]
    theirs = copy.deepcopy(model).to(device, dtype)
    implementation = theirs.config.vision_config._attn_implementation
    assert implementation == "sdpa", implementation
    embed: Callable[[Tensor], Tensor] = theirs.get_image_embeddings
    if compiled:
        encoder = torch.compile(theirs.vision_encoder, mode="max-autotune", dynamic=False)
        embed = lambda pixels: encoder(pixels)[0].clone()  # noqa: E731  CUDA graphs reuse memory

    def encode(batch: int) -> Call:
        pixels = inputs.pixels(batch, device, dtype)
        return lambda: {"image_embeddings": embed(pixels)}

    def decode(count: int) -> Call:
        embedding, clicks = inputs.embedding(device).to(dtype), inputs.clicks(count, device)

        def call() -> dict[str, Tensor]:
            found = theirs(
                image_embeddings=embedding,
                input_points=clicks.points,
                input_labels=clicks.labels,
            )
            return {"masks": found.pred_masks[0], "scores": found.iou_scores[0]}

        return call

    return Side(encode, decode)


def graphs(model: SamModel, device: str, precision: str) -> dict[ModelSpec, OnDevice]:
    """Trace our graphs in the form for CUDA, as target torchscript does where there is a card."""
    traced: dict[ModelSpec, OnDevice] = {}
    for spec, graph in GRAPHS.items():
        module = cast(graph(model).eval(), precision).to(device)
        examples = tuple(example.to(device) for example in example_inputs(spec))
        with warnings.catch_warnings():
            # PyTorch has announced a successor of TorchScript, Triton's own format.
            warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
            traced[spec] = _as_served(torch.jit.trace(module, examples, check_trace=False))
    return traced


def _as_served(traced: OnDevice) -> OnDevice:
    """Run without what TorchScript would compile for every new shape, as configurations say."""

    def run(*inputs: Tensor) -> Any:
        # Of this thread alone.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return traced(*inputs)

    return run


def ours(models: Mapping[ModelSpec, OnDevice], device: str) -> Side:
    """Our graphs in some runtime, asked for at most as many prompts at once as a request has."""

    def encode(batch: int) -> Call:
        frame = inputs.frames(batch, device)

        def call() -> dict[str, Tensor]:
            found = models[ENCODER](*frame)
            return {"image_embeddings": found[0] if isinstance(found, tuple) else found}

        return call

    def decode(count: int) -> Call:
        embedding, clicks = inputs.embedding(device), inputs.clicks(count, device)

        def call() -> dict[str, Tensor]:
            found = [models[DECODER](embedding, *request) for request in clicks.requests]
            masks, scores = (torch.cat([each[i][0] for each in found]) for i in range(2))
            return {"masks": masks[:, 1:NUM_MASKS], "scores": scores[:, 1:NUM_MASKS]}

        return call

    return Side(encode, decode)
