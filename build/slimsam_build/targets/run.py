"""What a loaded artefact is: a function of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]
"""Inputs by name, with their batch axis, to outputs by name."""
