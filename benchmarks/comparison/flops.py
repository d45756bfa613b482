"""Floating point operations of the graphs, counted by PyTorch on shapes alone: nothing is computed.

A multiplication and an addition are two operations. "As written" is what `SamModel` does for the
same answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import SamModel

from slimsam_build.graphs import Decoder, Encoder
from slimsam_build.graphs.example import example_inputs
from slimsam_client.contract import (
    DECODER,
    EMBEDDING_CHANNELS,
    EMBEDDING_SIZE,
    ENCODER,
    IMAGE_SIZE,
    ModelSpec,
)

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Flops:
    """Operations of one call: by this project's graphs, and as `SamModel` is written."""

    ours: int
    as_written: int

    @property
    def fewest(self) -> int:
        """Of the two: what a limit is computed from, so that more of them look no better."""
        return min(self.ours, self.as_written)

    def __add__(self, other: Flops) -> Flops:
        """Give the operations of both."""
        return Flops(self.ours + other.ours, self.as_written + other.as_written)

    def __mul__(self, times: int) -> Flops:
        """Give the operations of several calls."""
        return Flops(self.ours * times, self.as_written * times)


def encoder_flops(model: SamModel) -> Flops:
    """Count for one image."""
    theirs = _on_shapes(model)
    pixels = torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE, device="meta")
    return Flops(
        _count(_on_shapes(Encoder(model)), *_shapes(ENCODER)),
        _count(lambda: theirs.get_image_embeddings(pixels)),
    )


def decoder_flops(model: SamModel, prompts: int) -> Flops:
    """Count for so many clicks on one image."""
    theirs = _on_shapes(model)
    size = (1, EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE)
    return Flops(
        _count(_on_shapes(Decoder(model)), *_shapes(DECODER, prompts)),
        _count(
            lambda: theirs(
                image_embeddings=torch.empty(size, device="meta"),
                input_points=torch.empty(1, prompts, 1, 2, device="meta"),
                input_labels=torch.empty(1, prompts, 1, dtype=torch.int32, device="meta"),
                multimask_output=True,
            )
        ),
    )


def _count(call: Callable[..., object], *inputs: torch.Tensor) -> int:
    # Attention as plain products: those of fused kernels are counted on some devices only.
    with (
        torch.inference_mode(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        call(*inputs)
    return int(counter.get_total_flops())


def _on_shapes(module: Module) -> Module:
    return copy.deepcopy(module).to("meta")


def _shapes(spec: ModelSpec, prompts: int = 1) -> list[torch.Tensor]:
    """Inputs for clicks: a point and SAM's padding point each."""
    shapes = []
    for tensor, example in zip(spec.inputs, example_inputs(spec), strict=True):
        free = iter((prompts, 2))
        dims = [next(free) if dim == -1 else dim for dim in tensor.dims]
        shapes.append(torch.empty(1, *dims, dtype=example.dtype, device="meta"))
    return shapes
