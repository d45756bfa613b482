"""A picture that the fake server segments, and where its things are."""

from __future__ import annotations

from PIL import Image, ImageDraw

DISC, BOX, HOLE, STRIPE, GROUND = (140, 140), (390, 110), (460, 180), (330, 400), (300, 30)
"""A pixel of each thing, in a picture of 640 x 480."""


def drawn(width: int = 640, height: int = 480) -> Image.Image:
    """Draw a red disc, a blue box with a hole, and a yellow stripe."""
    image = Image.new("RGB", (width, height), (30, 60, 30))
    draw = ImageDraw.Draw(image)

    def scaled(*numbers: int) -> list[float]:
        scales = (width / 640, height / 480)
        return [number * scales[index % 2] for index, number in enumerate(numbers)]

    draw.ellipse(scaled(60, 60, 220, 220), fill=(220, 30, 30))
    draw.rectangle(scaled(360, 80, 560, 280), fill=(30, 30, 220))
    draw.rectangle(scaled(430, 150, 490, 210), fill=(30, 60, 30))
    draw.polygon(scaled(80, 420, 560, 340, 580, 400, 120, 460), fill=(230, 210, 40))
    return image
