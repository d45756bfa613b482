"""Files of weights: which of them are there, and their tensors in a `SamModel`."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Final

import torch
from transformers import SamConfig, SamModel

from slimsam_build.errors import CheckpointError, reason
from slimsam_build.quiet import quiet_transformers

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


def load_weights(directory: Path, files: list[Path], config: SamConfig) -> SamModel:
    """Load weights.

    Args:
        directory: holds them.
        files: as `find_weights` gave them.
        config: of the model.

    Returns:
        The model, float32, on the CPU, in evaluation mode, without gradients.

    Raises:
        CheckpointError: they cannot be read, or are not those that the configuration describes.
    """
    where = files[0] if len(files) == 1 else directory
    try:
        with quiet_transformers():
            model, found = SamModel.from_pretrained(
                directory,
                config=config,
                local_files_only=True,
                use_safetensors=files[0].suffix == ".safetensors",
                weights_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # damaged files end in errors of safetensors, pickle, zipfile, torch
        raise CheckpointError(f"{where}: {_advice(error)}") from error
    problems = [
        f"{len(found[kind])} {what} (first: {sorted(map(str, found[kind]))[0]})"
        for kind, what in (
            ("missing_keys", "tensors missing"),
            ("unexpected_keys", "tensors unknown"),
            ("mismatched_keys", "tensors of another shape"),
        )
        if found.get(kind)
    ]
    if problems:
        raise CheckpointError(
            f"{where}: expected exactly the tensors that config.json describes, found "
            f"{', '.join(problems)}; use the config.json that belongs to these weights"
        )
    result: SamModel = model.eval().requires_grad_(False)
    return result


def _advice(error: Exception) -> str:
    """Say what is wrong with a file, in our words where the library's advice would not help."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text:
        return (
            "expected plain tensors of a SamModel, found other pickled objects, such as a whole "
            "model; loading them would run code of the file, so they are left alone: save the "
            "model with SamModel.save_pretrained, and give that directory"
        )
    if "ignore_mismatched_sizes" in text:
        return (
            "expected exactly the tensors that config.json describes, found tensors of another "
            "shape; use the config.json that belongs to these weights"
        )
    return (
        "expected plain tensors of the SamModel that config.json describes, got "
        f"{reason(error)}; download both files again"
    )
