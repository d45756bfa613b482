"""Colors that tell masks apart, the same ones each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PIL import ImageColor

from slimsam_client.errors import SettingsError
from slimsam_client.numeric import as_integer, as_number
from slimsam_client.quoting import quoted_value

Color = tuple[int, int, int]
"""A color is red, green and blue, each 0 to 255."""

GOLDEN_ANGLE = 137.508
"""Hues that are turned by this angle, in degrees, stay apart however many there are."""
FIRST_HUE = 210
"""The first hue, in degrees, is a blue, as a single mask has."""
LIGHTNESS = (55, 70, 42, 62)
"""Colors take these lightnesses, in percent, in turn. Hues come close to an earlier one after 21,
34 or 55 turns, never a multiple of four."""


def distinct_colors(count: int) -> list[Color]:
    """Give saturated colors that are far apart, above all those that follow each other.

    Raises:
        SettingsError: the count is no integer from 0 on.
    """
    number = as_integer(count)
    if number is None or number < 0:
        raise SettingsError(f"count: expected an integer from 0 on, got {quoted_value(count)}")
    colors = []
    for index in range(number):
        hue = (FIRST_HUE + index * GOLDEN_ANGLE) % 360
        lightness = LIGHTNESS[index % len(LIGHTNESS)]
        red, green, blue = ImageColor.getrgb(f"hsl({hue:.1f}, 85%, {lightness}%)")[:3]
        colors.append((red, green, blue))
    return colors


def checked_color(color: Any) -> Color:
    """Give a color of numbers of any type as integers.

    Raises:
        SettingsError: it is not red, green and blue of 0 to 255.
    """
    given = list(color) if isinstance(color, Iterable) else []
    channels = [
        round(number)
        for number in map(as_number, given)
        if number is not None and 0 <= number <= 255
    ]
    if len(given) != 3 or len(channels) != 3:
        raise SettingsError(
            f"color: expected (red, green, blue), each 0 to 255, got {quoted_value(color)}"
        )
    return channels[0], channels[1], channels[2]
