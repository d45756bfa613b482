"""Graphs of our own over `SamModel`'s weights: batched, without baked shapes or devices."""

from __future__ import annotations

from slimsam_build.graphs.decoder import Decoder
from slimsam_build.graphs.encoder import Encoder

__all__ = ["Decoder", "Encoder"]
