"""Embeddings that are kept between batches: half precision, by checkpoint and picture."""

from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
from numpy.typing import NDArray

from slimsam_client.batch.store import Store
from slimsam_client.contract import ENCODER
from slimsam_client.results import Embedding

ARRAYS = ("image_embeddings", "original_size", "input_size")


class KeptEmbeddings:
    """A folder or prefix of embeddings, 2 MiB each.

    Args:
        store: where they lie.
        digest: of the checkpoint that is served.
    """

    def __init__(self, store: Store, digest: str) -> None:
        self._store = store
        self._digest = digest

    def find(self, content: bytes) -> Embedding | None:
        """Give the embedding of an encoded picture; None if it is not kept, or damaged."""
        try:
            stored = self._store.read(self._key(content))
            with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
                embedding, original, size = (arrays[name] for name in ARRAYS)
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, OSError, EOFError, zipfile.BadZipFile):
            return None
        (spec,) = ENCODER.outputs
        if embedding.shape != spec.dims or embedding.dtype != np.float16:
            return None
        embedding.flags.writeable = False
        return Embedding(embedding, _pair(original), _pair(size), self._digest)

    def keep(self, content: bytes, embedding: Embedding) -> None:
        """Keep the embedding of an encoded picture."""
        file = io.BytesIO()
        values = [getattr(embedding, name) for name in ARRAYS]
        np.savez(file, **dict(zip(ARRAYS, values, strict=True)))
        self._store.replace(self._key(content), file.getvalue())

    def _key(self, content: bytes) -> str:
        picture = hashlib.sha256(content).hexdigest()
        return f"{self._digest[:16]}/{picture[:2]}/{picture}.npz"


def _pair(values: NDArray[np.int64]) -> tuple[int, int]:
    height, width = values
    return int(height), int(width)
