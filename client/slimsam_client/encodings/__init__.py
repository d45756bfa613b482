"""Encodings of a mask, and back again.

Each is a function on one mask, (H, W) bool, so that every result can use it: `to_rle(mask) for mask
in prediction.masks`, `to_polygons(record.segmentation)`. Pixel (x, y) covers [x, x + 1) by
[y, y + 1), so that boxes and polygons have the mask's own area.
"""

from __future__ import annotations

from slimsam_client.encodings.bits import from_packed_bits, from_png, to_packed_bits, to_png
from slimsam_client.encodings.boxes import to_box
from slimsam_client.encodings.polygons import Polygon, from_polygons, to_geojson, to_polygons
from slimsam_client.encodings.rle import (
    JsonRle,
    Rle,
    UncompressedRle,
    from_rle,
    rle_area,
    rle_box,
    to_json_rle,
    to_rle,
    to_uncompressed_rle,
)

__all__ = [
    "JsonRle",
    "Polygon",
    "Rle",
    "UncompressedRle",
    "from_packed_bits",
    "from_png",
    "from_polygons",
    "from_rle",
    "rle_area",
    "rle_box",
    "to_box",
    "to_geojson",
    "to_json_rle",
    "to_packed_bits",
    "to_png",
    "to_polygons",
    "to_rle",
    "to_uncompressed_rle",
]
