"""Parameters of the cache in a model's configuration."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimsam_client.quoting import quoted
from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.identity import PictureKeys
from slimsam_client.serving.cache.layout import CacheSizes
from slimsam_client.serving.cache.pictures import PictureCache


@dataclass(frozen=True)
class CacheSettings:
    """What pictures are kept in; the same for all models that share it.

    Attributes:
        cache_path: the file, unless the environment has another in SLIMSAM_CACHE_PATH.
        cache_bytes: its size, all included, unless the environment has another in
            SLIMSAM_CACHE_BYTES.
        cache_max_age_seconds: after so many seconds an entry is erased.
        tenant_key_file: a file with a secret that goes into the pictures' ids; "" for none.
        target: whose info says what is served.
    """

    cache_path: str = "/dev/shm/slimsam-pictures"
    cache_bytes: int = 2**28
    cache_max_age_seconds: int = 86_400
    tenant_key_file: str = ""
    target: str = "torchscript"

    def open(self) -> PictureCache:
        """Open the cache.

        Raises:
            CacheError: there is no room for it, or the environment's size is no number.
        """
        size = os.environ.get("SLIMSAM_CACHE_BYTES") or self.cache_bytes
        try:
            nbytes = int(size)
        except ValueError as error:
            raise CacheError(
                f"SLIMSAM_CACHE_BYTES: expected a number of bytes, got {quoted(str(size))}"
            ) from error
        sizes = CacheSizes.within(nbytes)
        path = os.environ.get("SLIMSAM_CACHE_PATH") or self.cache_path
        return PictureCache(path, sizes, self.cache_max_age_seconds)

    def keys(self, info_folder: Path) -> PictureKeys:
        """Make what names pictures.

        Args:
            info_folder: where slimsam_info has TARGET.json, which the build writes.

        Raises:
            CacheError: it is not there, or is none; or the tenant's key cannot be read.
        """
        path = info_folder / f"{self.target}.json"
        try:
            info: dict[str, Any] = json.loads(path.read_bytes())
            model = json.dumps([info[name] for name in ("digest", "target", "precision")])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CacheError(
                f"{quoted(str(path))}: expected what slimsam-build writes of the checkpoint that "
                f"is served, got {type(error).__name__}; build the artifacts again"
            ) from error
        if not self.tenant_key_file:
            return PictureKeys(model)
        try:
            tenant_key = Path(self.tenant_key_file).read_bytes().strip()
        except OSError as error:
            raise CacheError(
                f"tenant_key_file: expected a file with a secret, got {error.strerror} of "
                f"{quoted(self.tenant_key_file)}"
            ) from error
        if not tenant_key:
            raise CacheError("tenant_key_file: expected a secret, got an empty file")
        return PictureKeys(model, tenant_key)
