"""Weights of a checkpoint's files as a `SamModel`."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from transformers import SamConfig, SamModel

from slimsam_build.errors import CheckpointError, reason
from slimsam_build.quiet import quiet_transformers


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
