"""Names of pictures and masks: 32 bytes in the cache, 64 hexadecimal digits on the wire."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Any, Final

from slimsam_client.contract import ID_PATTERN
from slimsam_client.errors import PromptError
from slimsam_client.quoting import quoted_value
from slimsam_client.results import image_key

KEY_BYTES: Final = 32
MODEL_BYTES: Final = 8
"""A picture's key begins with so many bytes of the digest of what made its embedding. Then come
those of its file alone (`image_key`), by which requests on it find their server, and the rest is
the picture's under this model, or the tenant's secret."""


class PictureKeys:
    """Makes the keys of pictures.

    An id lets its holder click on the picture, so nobody can make one from a picture's hash alone
    where a tenant has a key.

    Args:
        model: what made the embeddings. It has the checkpoint's digest, and all else on which their
            bits depend; a picture's key is another one with another model, and begins with the
            model's, so that no model decodes an embedding of another that is still kept.
        tenant_key: a secret of any length; None: whoever has the picture can compute its key.
    """

    def __init__(self, model: str, tenant_key: bytes | None = None) -> None:
        self._tenant_key = tenant_key
        digest = hashlib.sha256(model.encode()).digest()
        self._prefix = b"slimsam picture\0" + digest
        self._model = digest[:MODEL_BYTES]

    def made(self, key: bytes) -> bool:
        """Whether a key is of a picture that the same model has encoded."""
        return key.startswith(self._model)

    def key_of(self, content: bytes, original_size: tuple[int, int] | None = None) -> bytes:
        """Give the key of an encoded picture, 32 bytes.

        Args:
            content: the file.
            original_size: (height, width) that masks are to have, where the file is a reduced copy:
                the same file with another size is another picture.
        """
        size = b"" if original_size is None else b"%d %d" % original_size
        message = self._prefix + b"%d\0" % len(size) + size
        digest = (
            hashlib.sha256(message)
            if self._tenant_key is None
            else hmac.new(self._tenant_key, message, hashlib.sha256)
        )
        digest.update(content)
        of_file = bytes.fromhex(image_key(content))
        return (self._model + of_file + digest.digest())[:KEY_BYTES]


def new_mask_key() -> bytes:
    """Give the key of a mask, 32 bytes that nobody can guess."""
    return secrets.token_bytes(KEY_BYTES)


def to_id(key: bytes) -> str:
    """Give a key as clients see it."""
    return key.hex()


def from_id(value: Any, name: str) -> bytes:
    """Read the key that a client sends.

    Args:
        value: bytes or str.
        name: the name of the field, for the message.

    Raises:
        PromptError: it is no id.
    """
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not re.fullmatch(ID_PATTERN, text):
        raise PromptError(
            f"{name}: expected an id as the server gave it, {2 * KEY_BYTES} hexadecimal digits, "
            f"got {quoted_value(value)}"
        )
    return bytes.fromhex(text)
