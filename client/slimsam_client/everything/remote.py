"""Everything mode by the server's model: one call, whose answer becomes records."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import AUTOMATIC
from slimsam_client.everything.answer import from_tensors
from slimsam_client.everything.record import MaskRecord
from slimsam_client.everything.settings import GenerateSettings
from slimsam_client.image.load import ImageSource, load_portable_image
from slimsam_client.results import image_key

FAST: Final = 1
"""zlib's level. Higher ones make photos a few percent smaller, in twice the time or more."""


def request_records(image: ImageSource, settings: GenerateSettings) -> Steps[list[MaskRecord]]:
    """Have the server segment everything.

    An image file travels as it is if the server is sure to read it as this process does; otherwise
    its pixels travel as PNG.
    """
    pixels, encoded = load_portable_image(image)
    size = (pixels.shape[0], pixels.shape[1])
    content = to_png(pixels) if encoded is None else encoded
    arrays = {
        "image_bytes": bytes_tensor([content]),
        "settings": bytes_tensor([settings.to_json()]),
    }
    answer = yield Call(AUTOMATIC, arrays, image_key=image_key(content))
    return from_tensors(answer, size)


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) uint8 without loss, as fast as PNG allows."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=FAST)
    return file.getvalue()


def bytes_tensor(values: Sequence[str | bytes]) -> NDArray[np.object_]:
    """Give a tensor of Triton's type BYTES, (K,); text is encoded as UTF-8."""
    array = np.empty(len(values), np.object_)
    array[:] = [value.encode() if isinstance(value, str) else value for value in values]
    return array
