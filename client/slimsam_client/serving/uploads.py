"""`slimsam_image` inside the server's model: an encoded picture in, and the id of it out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import ENCODER, TOO_LARGE, Arrays
from slimsam_client.everything.remote import bytes_tensor
from slimsam_client.image.load import MAX_PIXELS, preprocess
from slimsam_client.serving.cache.identity import PictureKeys, to_id
from slimsam_client.serving.limits import Watch
from slimsam_client.serving.numbers import checked_numbers
from slimsam_client.serving.picture import (
    picture_bytes,
    read_picture,
    size_of_masks,
    stated_size,
)
from slimsam_client.serving.picture_store import KeptPicture, PictureStore


@dataclass(frozen=True)
class UploadLimits:
    """What one upload may be; the names are those of config.pbtxt's parameters.

    Attributes:
        max_seconds: seconds from the start to the answer.
        max_pixels: pixels of the picture.
        max_original_pixels: pixels that a reduced picture had; each of its masks takes a byte for
            each, one at a time.
        max_image_bytes: bytes of the encoded picture.
        formats: Pillow's names of the formats that are read; JPEG includes MPO.
    """

    max_seconds: int = 60
    max_pixels: int = 2**26
    max_original_pixels: int = MAX_PIXELS
    max_image_bytes: int = 2**28
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")


def answer_upload(
    inputs: Arrays, cache: PictureStore, keys: PictureKeys, limits: UploadLimits, watch: Watch
) -> Steps[Arrays]:
    """Answer a request to the server's model slimsam_image.

    A picture that is kept already is neither decoded nor encoded.

    Args:
        inputs: the request's tensors.
        cache: where pictures are kept.
        keys: names them.
        limits: what the request may be.
        watch: ends the work before the picture is encoded.

    Returns:
        The answer's tensors.

    Raises:
        ImageError: there is no image, it cannot be read or used, or is above a limit; or it is not
            what a picture of original_size is when it is reduced to the 1024 frame.
        RequestCancelledError: the watch says so.
        ServerError: the encoder gave NaN or infinity.
    """
    watch.check()
    content = picture_bytes(inputs, limits, TOO_LARGE)
    stated = stated_size(inputs, limits)
    key = keys.key_of(content, stated)
    size = cache.picture_size(key)
    if size is None:
        pixels = read_picture(inputs, limits, TOO_LARGE)
        size = size_of_masks(pixels, stated)
        frame, valid = preprocess(pixels)
        del pixels  # up to 200 MB, which nothing needs while the encoder works
        watch.check()
        framed: Arrays = {"image": frame, "input_size": valid}
        answer = checked_numbers(ENCODER, (yield Call(ENCODER, framed)))
        picture = KeptPicture(answer["image_embeddings"], size, (int(valid[0]), int(valid[1])))
        cache.put_picture(key, picture)
    return {
        "image_id": bytes_tensor([to_id(key)]),
        "original_size": np.array(size, np.int32),
    }
