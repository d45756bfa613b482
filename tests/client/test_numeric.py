"""Numbers of any numeric type are numbers; truth values and text are none."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from slimsam_client import GenerateSettings, SettingsError
from slimsam_client.numeric import as_integer, as_number, is_finite

INTEGERS = [3, np.int64(3), np.uint8(3), np.int16(3), np.array(3)]
NUMBERS = [
    0.5, np.float32(0.5), np.float64(0.5), np.float16(0.5), Fraction(1, 2), Decimal("0.5"),
    np.array(0.5), np.longdouble(0.5),
]  # fmt: skip
NO_NUMBERS: list[Any] = [
    True, np.True_, np.array(True), "3", b"3", None, 3j, [3], np.array([3]), np.array([0.5]),
    "x" * 1_000_000, Decimal("sNaN"), object(),
]  # fmt: skip


@pytest.mark.parametrize("value", INTEGERS, ids=lambda value: type(value).__name__)
def test_integers(value: Any) -> None:
    assert as_integer(value) == 3 and type(as_integer(value)) is int
    assert as_number(value) == 3.0 and type(as_number(value)) is float
    settings = GenerateSettings(points_per_side=value, pred_iou_thresh=value - value)
    assert settings == GenerateSettings(points_per_side=3, pred_iou_thresh=0)
    assert json.loads(settings.to_json())["points_per_side"] == 3
    assert GenerateSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: type(value).__name__)
def test_numbers(value: Any) -> None:
    assert as_number(value) == 0.5 and type(as_number(value)) is float
    assert as_integer(value) is None
    settings = GenerateSettings(pred_iou_thresh=value)
    assert settings == GenerateSettings(pred_iou_thresh=0.5)
    assert GenerateSettings.from_json(settings.to_json()) == settings
    with pytest.raises(SettingsError, match="points_per_side: expected an integer within 1..256"):
        GenerateSettings(points_per_side=value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:20])
def test_what_is_no_number(value: Any) -> None:
    assert as_number(value) is None and as_integer(value) is None
    for name in ("points_per_side", "pred_iou_thresh"):
        with pytest.raises(SettingsError, match=f"{name}: expected") as caught:
            GenerateSettings(**{name: value})
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), 10**10_000, float("nan"), float("inf")],
    ids=["401 digits", "negative", "10,001 digits", "NaN", "infinite"],
)
def test_numbers_out_of_range_have_short_messages(value: Any) -> None:
    for name in ("points_per_side", "pred_iou_thresh"):
        with pytest.raises(SettingsError, match=f"{name}: expected") as caught:
            GenerateSettings(**{name: value})
        assert len(str(caught.value)) < 300


def test_unknown_settings_are_quoted_in_short() -> None:
    with pytest.raises(SettingsError) as caught:
        GenerateSettings.from_json(json.dumps({"x" * 100_000: 1, "\x1b[2J": 2}))
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_arrays_of_numbers_alone(kind: type) -> None:
    for shape in ((), (0,), (3, 5), (2**20 + 3,)):
        array = np.full(shape, np.finfo(kind).min, kind)
        assert is_finite(array)
        for value in (np.nan, np.inf, -np.inf):
            if array.size:
                array.flat[-1] = value
                assert not is_finite(array)
