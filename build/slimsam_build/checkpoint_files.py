"""Files of a checkpoint in Hugging Face's format: which of them are there, and their hashes.

Without PyTorch: `check` compares them where there is none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from slimsam_build.digest import sha256_of
from slimsam_build.errors import CheckpointError, reason

CONFIG: Final = "config.json"
WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The names are in order of preference, as transformers has it; no such file can run code."""
EXPECTED: Final = "model.safetensors or pytorch_model.bin, or the index of several such files"


def find_weights(directory: Path) -> list[Path]:
    """Find the files of weights in a directory: one, or all shards that an index names, in order.

    Raises:
        CheckpointError: there are none, not all, or other shards than the index names.
    """
    first = next((directory / name for name in WEIGHTS if (directory / name).is_file()), None)
    if first is None:
        raise CheckpointError(
            f"{directory}: expected {EXPECTED}, found none; "
            "download the weights into this directory"
        )
    if not is_index(first):
        return [first]
    shards = [directory / name for name in shards_of(first)]
    for shard in shards:
        if not shard.is_file():
            raise CheckpointError(
                f"{first}: expected all {len(shards)} files that it names, found no {shard.name}; "
                "download it into this directory"
            )
    stem, _, ending = first.name.removesuffix(".index.json").rpartition(".")
    for other in sorted(directory.glob(f"{stem}-*-of-*.{ending}")):
        if other not in shards:
            raise CheckpointError(
                f"{first}: expected the {len(shards)} files that it names and no other shards, "
                f"found {other.name}; remove it, or download the index that names it"
            )
    return shards


def is_index(path: Path) -> bool:
    """Say whether a file of WEIGHTS is the index of several."""
    return path.name.endswith(".index.json")


def shards_of(index: Path) -> list[str]:
    """Read an index: the names of its files, in order.

    Raises:
        CheckpointError: it is no index, or names files elsewhere.
    """
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f'{index}: expected a JSON index of files with a "weight_map", got {reason(error)}; '
            "download it again"
        ) from error
    if not names or not all(isinstance(n, str) and n and Path(n).name == n for n in names):
        raise CheckpointError(
            f"{index}: expected names of files beside it in its weight_map, found "
            f"{'others' if names else 'none'}; download it again"
        )
    return sorted(names)


def hashes_of(directory: Path) -> tuple[str, str]:
    """Compute the SHA-256 of a checkpoint's config.json, and of its weights as if one file.

    Raises:
        CheckpointError: the weights are not all there.
        OSError: a file cannot be read.
    """
    return sha256_of(directory / CONFIG), sha256_of(*find_weights(directory))
