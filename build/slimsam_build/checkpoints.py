"""Checkpoints: from a Hugging Face id, a directory or the bundled demo to a `SamModel`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import huggingface_hub
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from transformers import SamModel
from transformers.utils import logging as transformers_logging

from slimsam_build.digest import sha256_of
from slimsam_build.errors import CheckpointError
from slimsam_build.geometry import read_config

DEMO: Final = Path(__file__).parent / "demo" / "checkpoint"
WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")
"""In order of preference; neither can run code when it is loaded."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        name: as it was asked for.
        model: float32, on the CPU, in evaluation mode, without gradients.
        sha256: of the file of weights.
    """

    name: str
    model: SamModel
    sha256: str


def load_checkpoint(name: str) -> Checkpoint:
    """Load a checkpoint in Hugging Face's `SamModel` format.

    Args:
        name: "demo", a directory, or an id on the Hugging Face hub.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: it cannot be had, or is not of SAM's architecture and geometry.
    """
    if name == "demo":
        directory = DEMO
    elif Path(name).is_dir():
        directory = Path(name)
    elif re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        directory = _download(name)
    else:
        raise CheckpointError(
            f'checkpoint {name!r}: expected "demo", an existing directory, or a Hugging Face id '
            "like nielsr/slimsam-77-uniform; found none of these: check the spelling"
        )
    config_path = directory / "config.json"
    if not config_path.is_file():
        raise CheckpointError(
            f"{directory}: expected a config.json, found none; give a directory in Hugging Face "
            "format (SamModel.save_pretrained writes it)"
        )
    config = read_config(config_path)
    weights = next((directory / n for n in WEIGHTS if (directory / n).is_file()), None)
    if weights is None:
        raise CheckpointError(
            f"{directory}: expected {' or '.join(WEIGHTS)}, found neither; "
            "download the weights, unsharded, into this directory"
        )
    return Checkpoint(name, _load(directory, weights, config), sha256_of(weights))


def _load(directory: Path, weights: Path, config: object) -> SamModel:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, found = SamModel.from_pretrained(
            directory,
            config=config,
            local_files_only=True,
            use_safetensors=weights.suffix == ".safetensors",
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # damaged files end in errors of safetensors, pickle, zipfile, torch
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"{weights}: expected plain tensors of a SamModel, got {type(error).__name__}: "
            f"{reason[0] if reason else 'no reason given'}; download the file again"
        ) from error
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
            f"{weights}: expected exactly the tensors that config.json describes, found "
            f"{', '.join(problems)}; use the config.json that belongs to these weights"
        )
    result: SamModel = model.eval().requires_grad_(False)
    return result


def _download(name: str) -> Path:
    huggingface_hub.utils.logging.set_verbosity_error()  # its retries are not the user's news
    try:
        config = Path(huggingface_hub.hf_hub_download(name, "config.json"))
        read_config(config)  # before hundreds of megabytes are fetched for nothing
        for file in WEIGHTS:
            try:
                return Path(huggingface_hub.hf_hub_download(name, file)).parent
            except RemoteEntryNotFoundError:
                continue
    except GatedRepoError as error:
        raise CheckpointError(
            f"checkpoint {name}: expected a repository that may be read, found a gated one; "
            "accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {name}: expected a repository of that name on the Hugging Face hub, "
            "found none; check the spelling, or log in with `hf auth login` if it is private"
        ) from error
    except RemoteEntryNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {name}: expected a config.json in it, found none; "
            "give a repository in Hugging Face format"
        ) from error
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {name}: expected to reach the Hugging Face hub or to find it in the "
            f"cache, got {type(error).__name__}; fetch it where there is a network with "
            f"`hf download {name} --local-dir DIR` and give DIR"
        ) from error
    raise CheckpointError(
        f"checkpoint {name}: expected {' or '.join(WEIGHTS)} in it, found neither; "
        "give a repository with unsharded weights"
    )
