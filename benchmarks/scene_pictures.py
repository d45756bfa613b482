"""Pictures that no server has seen, at the cost of a JPEG, and points in them."""

from __future__ import annotations

import io
import secrets
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SCENE: Final = Path(__file__).parents[1] / "examples" / "scene.png"
SIZE: Final = (1024, 768)
"""Its width and height."""


def new_picture() -> bytes:
    """Give a JPEG that no server has seen; its pixels are always the same ones."""
    file = io.BytesIO()
    with Image.open(SCENE) as image:
        comment = secrets.token_hex(16)
        image.convert("RGB").save(file, "JPEG", quality=90, comment=comment)
    return file.getvalue()


def random_points(count: int, seed: int) -> list[tuple[float, float]]:
    """Give points (x, y) somewhere in the picture, in hundredths of a pixel.

    Args:
        count: how many.
        seed: equal seeds give equal points.
    """
    drawn: NDArray[np.float64] = np.random.default_rng(seed).uniform((0, 0), SIZE, (count, 2))
    return [(float(x), float(y)) for x, y in drawn.round(2)]
