"""The upload of an image that the server is to keep: what is sent, and the id that comes back."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.calls import Call, Operation
from slimsam_client.contract import ID_PATTERN, IMAGE, TOO_LARGE
from slimsam_client.errors import OTHER_CONTRACT, ContractError, InvalidRequestError
from slimsam_client.everything.remote import picture_arrays, to_png
from slimsam_client.image.load import ImageSource, load_portable_image, preprocess
from slimsam_client.quoting import quoted_value
from slimsam_client.results import UploadedImage

MAX_PIXELS: Final = 2**26
"""The server's default limit."""
MAX_BYTES: Final = 30 * 2**20
"""A proxy before the server may take messages of 32 MiB at most."""


def upload(image: ImageSource) -> Operation[UploadedImage]:
    """Have the server keep an image, within one timeout.

    A file travels as it is if the server is sure to read it as this process does; otherwise its
    pixels travel as PNG. What is above a limit is reduced to the encoder's frame, which gives the
    same masks.
    """
    pixels, encoded = load_portable_image(image)
    size = (pixels.shape[0], pixels.shape[1])
    refused = False
    if size[0] * size[1] <= MAX_PIXELS:
        content = to_png(pixels) if encoded is None else encoded
        if len(content) <= MAX_BYTES:
            try:
                return (yield from _sent(UploadedImage("", content, size)))
            except InvalidRequestError as error:  # the server's limits may be lower
                if TOO_LARGE not in str(error):
                    raise
                refused = True
    frame, valid = preprocess(pixels)
    reduced = UploadedImage("", to_png(frame[: valid[0], : valid[1]]), size, True)
    return (yield from _sent(reduced, continues=refused))


def upload_again(image: UploadedImage) -> Operation[None]:
    """Send an image that the server keeps no longer, within the timeout of what asked for it.

    Its id may be another one then.
    """
    yield from _sent(image, continues=True)


def _sent(image: UploadedImage, continues: bool = False) -> Operation[UploadedImage]:
    arrays = picture_arrays(image.content, image.original_size if image.is_reduced else None)
    answer = yield Call(IMAGE, arrays, continues=continues, image_key=image.key)
    if tuple(answer["original_size"].tolist()) != image.original_size:
        raise ContractError(
            f"{IMAGE.name}: expected the output original_size as {list(image.original_size)}, of "
            f"the image that was sent; got {answer['original_size'].tolist()}; {OTHER_CONTRACT}"
        )
    image.image_id = checked_id(answer["image_id"][0], IMAGE.name, "image_id")
    return image


def checked_id(value: Any, model: str, name: str) -> str:
    """Give an id that a server sent.

    Raises:
        ContractError: it is none.
    """
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else ""
    if not re.fullmatch(ID_PATTERN, text):
        raise ContractError(
            f"{model}: expected the output {name} as 64 hexadecimal digits, "
            f"got {quoted_value(value)}; {OTHER_CONTRACT}"
        )
    return text


def ids_of(array: NDArray[np.object_], model: str, name: str) -> NDArray[np.object_]:
    """Give the ids of a tensor, of any shape.

    Raises:
        ContractError: one of them is none.
    """
    ids = np.empty(array.shape, np.object_)
    for place in np.ndindex(array.shape):
        ids[place] = checked_id(array[place], model, name)
    return ids
