"""Numbers of any numeric type, as settings and options take them: Python's, NumPy's, fractions."""

from __future__ import annotations

import operator
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np


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
