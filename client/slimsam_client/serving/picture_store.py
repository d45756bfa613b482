"""`PictureStore`: what the models of clicks ask of where pictures and masks are kept."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class KeptPicture(NamedTuple):
    """What the decoder needs of a picture.

    Attributes:
        image_embeddings: (256, 64, 64) float16, a copy.
        original_size: (height, width) of the picture.
        input_size: (height, width) of the picture in the 1024 frame.
    """

    image_embeddings: NDArray[np.float16]
    original_size: tuple[int, int]
    input_size: tuple[int, int]


class PictureStore(Protocol):
    """Embeddings of pictures, and logits of masks; keys have 32 bytes."""

    def get_picture(self, key: bytes) -> KeptPicture | None:
        """Give a picture, if it is kept."""

    def picture_size(self, key: bytes) -> tuple[int, int] | None:
        """Give (height, width) of a picture, if it is kept."""

    def put_picture(self, key: bytes, picture: KeptPicture) -> bool:
        """Keep a picture; whether it is kept."""

    def get_mask(self, picture_key: bytes, key: bytes) -> NDArray[np.float16] | None:
        """Give a mask's logits (256, 256), if they are kept."""

    def put_mask(self, picture_key: bytes, key: bytes, logits: NDArray[np.float16]) -> bool:
        """Keep a mask's logits (256, 256); whether they are kept."""

    def forget(self, picture_key: bytes) -> bool:
        """Erase a picture and its masks; whether it was kept."""
