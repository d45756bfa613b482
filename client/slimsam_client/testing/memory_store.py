"""What the fake server keeps of uploaded images: everything, until it is told otherwise."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from slimsam_client.serving.picture_store import KeptPicture


class MemoryStore:
    """A `PictureStore` in memory, without an end; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: dict[bytes, KeptPicture] = {}
        self._masks: dict[tuple[bytes, bytes], NDArray[np.float16]] = {}

    def get_picture(self, key: bytes) -> KeptPicture | None:
        """Give a picture, if it is kept."""
        return self._pictures.get(key)

    def picture_size(self, key: bytes) -> tuple[int, int] | None:
        """Give (height, width) of a picture, if it is kept."""
        picture = self._pictures.get(key)
        return None if picture is None else picture.original_size

    def put_picture(self, key: bytes, picture: KeptPicture) -> bool:
        """Keep a picture."""
        self._pictures[key] = picture
        return True

    def get_mask(self, picture_key: bytes, key: bytes) -> NDArray[np.float16] | None:
        """Give a mask's logits, if they are kept."""
        return self._masks.get((picture_key, key))

    def put_mask(self, picture_key: bytes, key: bytes, logits: NDArray[np.float16]) -> bool:
        """Keep a mask's logits."""
        with self._lock:
            self._masks[picture_key, key] = logits.copy()
        return True

    def forget(self, picture_key: bytes) -> bool:
        """Erase a picture and its masks."""
        with self._lock:
            for place in [place for place in self._masks if place[0] == picture_key]:
                del self._masks[place]
            return self._pictures.pop(picture_key, None) is not None

    def forget_all(self) -> None:
        """Erase everything, as a server does that is started anew."""
        with self._lock:
            self._pictures.clear()
            self._masks.clear()
