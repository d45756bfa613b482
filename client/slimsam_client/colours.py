"""Colours that tell masks apart, the same ones each time."""

from __future__ import annotations

from PIL import ImageColor

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

GOLDEN_ANGLE = 137.508
"""Degrees. Turned by it, hues stay apart however many there are."""
FIRST_HUE = 210
"""Degrees: a blue, as a single mask has."""
LIGHTNESS = (55, 70, 42, 62)
"""Percent. Hues come close to an earlier one after 21, 34 or 55 turns, never a multiple of four."""


def distinct_colours(count: int) -> list[Colour]:
    """Give saturated colours that are far apart, above all those that follow each other."""
    colours = []
    for index in range(count):
        hue = (FIRST_HUE + index * GOLDEN_ANGLE) % 360
        lightness = LIGHTNESS[index % len(LIGHTNESS)]
        red, green, blue = ImageColor.getrgb(f"hsl({hue:.1f}, 85%, {lightness}%)")[:3]
        colours.append((red, green, blue))
    return colours
