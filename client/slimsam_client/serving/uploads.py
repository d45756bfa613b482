"""`slimsam_image` inside the server's model: an encoded picture in, and the id of it out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import ENCODER, TOO_LARGE, Arrays
from slimsam_client.errors import ImageError
from slimsam_client.everything.remote import bytes_tensor
from slimsam_client.image.load import MAX_PIXELS, MAX_SIDE, preprocess, resized_size
from slimsam_client.serving.cache.identity import PictureKeys, to_id
from slimsam_client.serving.limits import Watch
from slimsam_client.serving.picture import picture_bytes, read_picture
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
    """
    watch.check()
    content = picture_bytes(inputs, limits, TOO_LARGE)
    stated = _stated_size(inputs, limits)
    key = keys.key_of(content, stated)
    size = cache.picture_size(key)
    if size is None:
        pixels = read_picture(inputs, limits, TOO_LARGE)
        shape = pixels.shape[0], pixels.shape[1]
        if stated is not None and resized_size(*stated) != shape:
            expected = resized_size(*stated)
            raise ImageError(
                f"original_size: expected that of a picture of {shape[0]} x {shape[1]} (height x "
                f"width), got {stated[0]} x {stated[1]}, which is reduced to {expected[0]} x "
                f"{expected[1]}"
            )
        size = shape if stated is None else stated
        frame, valid = preprocess(pixels)
        watch.check()
        answer = yield Call(ENCODER, {"image": frame, "input_size": valid})
        picture = KeptPicture(answer["image_embeddings"], size, (int(valid[0]), int(valid[1])))
        cache.put_picture(key, picture)
    return {
        "image_id": bytes_tensor([to_id(key)]),
        "original_size": np.array(size, np.int32),
    }


def _stated_size(inputs: Arrays, limits: UploadLimits) -> tuple[int, int] | None:
    if "original_size" not in inputs:
        return None
    height, width = inputs["original_size"].tolist()
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ImageError(
            f"original_size: expected (height, width) from 1 to {MAX_SIDE:,}, got {height}, {width}"
        )
    if height * width > limits.max_original_pixels:
        raise ImageError(
            f"original_size: expected at most {limits.max_original_pixels:,} pixels (the server's "
            f"max_original_pixels), got {height} x {width}; send a smaller one, and scale the masks"
        )
    return height, width
