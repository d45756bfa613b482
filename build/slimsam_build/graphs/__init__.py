"""Graphs of our own over `SamModel`'s weights: batched, without baked shapes or devices."""

from __future__ import annotations

from slimsam_build.graphs.aligned_encoder import AlignedEncoder
from slimsam_build.graphs.bounded_shapes import BoundedDecoder, BoundedMasks
from slimsam_build.graphs.decoder import Decoder
from slimsam_build.graphs.encoder import Encoder
from slimsam_build.graphs.fused_decoder import FusedDecoder
from slimsam_build.graphs.fused_encoder import FusedEncoder
from slimsam_build.graphs.kernel_encoder import KernelEncoder
from slimsam_build.graphs.masks import AnyShapeMasks, Masks
from slimsam_build.graphs.request_shapes import AnyShapeDecoder, AnyShapeFusedDecoder

__all__ = [
    "AlignedEncoder",
    "AnyShapeDecoder",
    "AnyShapeFusedDecoder",
    "AnyShapeMasks",
    "BoundedDecoder",
    "BoundedMasks",
    "Decoder",
    "Encoder",
    "FusedDecoder",
    "FusedEncoder",
    "KernelEncoder",
    "Masks",
]
