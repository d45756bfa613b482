"""The two ways to click: on a picture that the server keeps, and with an embedding of one's own."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PIL import Image

from slimsam_client import Embedding, SlimSam, UploadedImage
from slimsam_client.encodings import Rle

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


def click(sam: SlimSam, known: Known, point: tuple[float, float]) -> Rle:
    """Click, and give the best mask."""
    (rle,) = sam.predict(known, points=[point], masks="rle").rles
    return rle
