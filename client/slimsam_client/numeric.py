"""Numbers of any numeric type: of settings and options, Python's, NumPy's, fractions; of arrays."""

from __future__ import annotations

import operator
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_integer(value: Any) -> int | None:
    """Give an integer of any type (int, numpy.int64, ...) as an int; None for all else.

    Truth values are no numbers, and neither are floats, whole ones included.
    """
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_number(value: Any) -> float | None:
    """Give a real number of any type (numpy.float32, Fraction, ...) as a float; None for all else.

    Truth values and text are no numbers, and what a float cannot hold is none here.
    """
    number: Any = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool) or not isinstance(number, Real | Decimal):
        return None
    try:
        return float(number)
    except (OverflowError, ValueError):  # too large; or Decimal's signaling NaN
        return None


def is_finite(array: NDArray[Any]) -> bool:
    """Whether an array of floats, of any shape, has no NaN and no infinity."""
    if array.dtype == np.float16:
        # The exponent bits of NaN and of infinity are all ones. NumPy's isfinite takes ten times as
        # long for float16. The array is read in parts, so that 16 prompts need no copy of 8 MiB.
        bits = array.view(np.uint16).reshape(-1)
        parts = (bits[start : start + 2**20] for start in range(0, bits.size, 2**20))
        return all(int((part & 0x7FFF).max()) < 0x7C00 for part in parts)
    return bool(np.isfinite(array).all())
