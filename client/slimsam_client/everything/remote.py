"""Everything mode by the server's model: one call, whose answer becomes records."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import AUTOMATIC, Arrays
from slimsam_client.everything.answer import from_tensors
from slimsam_client.everything.record import MaskRecord
from slimsam_client.everything.settings import GenerateSettings
from slimsam_client.image.load import ImageSource, load_portable_image
from slimsam_client.results import image_key

FAST: Final = 1
"""zlib's level. Higher ones make photos a few percent smaller, in twice the time or more."""


def request_records(
    image: ImageSource, settings: GenerateSettings, original_size: tuple[int, int] | None = None
) -> Steps[list[MaskRecord]]:
    """Have the server segment everything.

    An image file travels as it is if the server is sure to read it as this process does; otherwise
    its pixels travel as PNG.

    Args:
        image: the image.
        settings: settings of everything mode.
        original_size: (height, width) of the image before it was reduced to the 1024 frame; None
            if it was not.

    Returns:
        The records, in SAM's order.

    Raises:
        ImageError: the image cannot be read or used.
        ContractError: the answer is not of this image.
    """
    content, size = _portable(image)
    arrays = everything_arrays(content, settings, original_size)
    answer = yield Call(AUTOMATIC, arrays, image_key=image_key(content))
    return from_tensors(answer, original_size or size)


def everything_arrays(
    content: bytes, settings: GenerateSettings, original_size: tuple[int, int] | None
) -> Arrays:
    """Give the tensors of a request; parameters: see `picture_arrays`."""
    return {
        **picture_arrays(content, original_size),
        "settings": bytes_tensor([settings.to_json()]),
    }


def picture_arrays(content: bytes, original_size: tuple[int, int] | None) -> Arrays:
    """Give the tensors of a picture, as slimsam_image and slimsam_automatic take it.

    Args:
        content: the encoded picture.
        original_size: (height, width) of the picture before it was reduced to the 1024 frame; None
            if it was not.
    """
    arrays: Arrays = {"image_bytes": bytes_tensor([content])}
    if original_size is not None:
        arrays["original_size"] = np.array(original_size, np.int32)
    return arrays


def _portable(image: ImageSource) -> tuple[bytes, tuple[int, int]]:
    """Encode an image for a server; and give its (height, width), without its pixels."""
    pixels, encoded = load_portable_image(image)
    content = to_png(pixels) if encoded is None else encoded
    return content, (pixels.shape[0], pixels.shape[1])


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
