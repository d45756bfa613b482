"""Names of the free axes of the contract's tensors."""

from __future__ import annotations

from typing import Final

from slimsam_client.contract import TensorSpec

FREE: Final = {
    "row_weights": ("rows",),
    "column_weights": ("columns",),
    "chosen": ("chosen",),
    "bits": ("chosen", "rows", "bytes"),
}
"""Free axes of a tensor, in order; those of the others are prompts, and points."""
AXES: Final = frozenset({"prompts", "points", "rows", "columns", "chosen", "bytes"})


def free_axes(tensor: TensorSpec) -> dict[int, str]:
    """Give the names of a tensor's free dims, by their position in `dims`."""
    free = [axis for axis, dim in enumerate(tensor.dims) if dim == -1]
    return dict(zip(free, FREE.get(tensor.name, ("prompts", "points")), strict=False))
