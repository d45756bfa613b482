"""The two ways to click: on a picture that the server keeps, and with an embedding of one's own."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimsam_client import Embedding, SlimSam, UploadedImage
from slimsam_client.encodings import Rle

SCENE: Final = Path(__file__).parents[2] / "examples" / "scene.png"
SIZE: Final = (1024, 768)
"""Its width and height."""
TIMEOUT: Final = 600.0
"""Seconds that clients wait."""

Known = Embedding | UploadedImage
"""What a client has of a picture, to click on it."""


@dataclass(frozen=True)
class Way:
    """How a client clicks; both make the RLE of the best mask of a click.

    Attributes:
        name: "kept" or "embedding", by which the picture is known.
        know: makes an encoded picture known, once.
        miss: what a client has to click on whose picture is not known any more.
    """

    name: str
    know: Callable[[SlimSam, bytes], Known]
    miss: Callable[[SlimSam, bytes], Known]


def _upload(sam: SlimSam, picture: bytes) -> Known:
    return sam.upload(picture)


def _embed(sam: SlimSam, picture: bytes) -> Known:
    return sam.embed(picture)


def _forgotten(sam: SlimSam, picture: bytes) -> Known:
    """Give a picture as it is after its eviction: the next click finds that, and sends it again."""
    with Image.open(io.BytesIO(picture)) as image:
        return UploadedImage(secrets.token_hex(32), picture, (image.height, image.width))


KEPT: Final = Way("kept", _upload, _forgotten)
EMBEDDING: Final = Way("embedding", _embed, _embed)
"""Two calls: one of the encoder, and one of the decoder for each click."""
WAYS: Final = (KEPT, EMBEDDING)


def new_picture() -> bytes:
    """Give a JPEG that no server has seen; its pixels are always the same ones."""
    file = io.BytesIO()
    with Image.open(SCENE) as image:
        comment = secrets.token_hex(16)
        image.convert("RGB").save(file, "JPEG", quality=90, comment=comment)
    return file.getvalue()


def click(sam: SlimSam, known: Known, point: tuple[float, float]) -> Rle:
    """Click, and give the best mask."""
    (rle,) = sam.predict(known, points=[point], masks="rle").rles
    return rle


def random_points(count: int, seed: int) -> list[tuple[float, float]]:
    """Give points (x, y) somewhere in the picture, in hundredths of a pixel.

    Args:
        count: how many.
        seed: equal seeds give equal points.
    """
    drawn: NDArray[np.float64] = np.random.default_rng(seed).uniform((0, 0), SIZE, (count, 2))
    return [(float(x), float(y)) for x, y in drawn.round(2)]
