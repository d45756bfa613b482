"""Checkpoints: from a Hugging Face id, a directory or the bundled demo to a `SamModel`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transformers import SamModel

from slimsam_build.checkpoint_files import CONFIG, WEIGHTS, find_weights, hashes_of
from slimsam_build.errors import CheckpointError, reason
from slimsam_build.geometry import read_config
from slimsam_build.hub import ID, download
from slimsam_build.weights import load_weights

DEMO: Final = Path(__file__).parent / "demo" / "checkpoint"
FILES: Final = (".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".onnx", ".json")
"""Endings of files; what has one is no id on the hub."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        name: as it was asked for; of one on the hub ID@COMMIT, with the commit that it is of.
        model: float32, on the CPU, in evaluation mode, without gradients.
        sha256: of the file of weights; of several, as if they were one, in order of their names.
        asked: as it was asked for, without the commit that was found.
        config_sha256: of config.json.
    """

    name: str
    model: SamModel
    sha256: str
    asked: str = ""
    config_sha256: str = ""


def load_checkpoint(name: str) -> Checkpoint:
    """Load a checkpoint in Hugging Face's `SamModel` format.

    Args:
        name: "demo", a directory, or an id on the Hugging Face hub, which may have a branch, a tag
            or a commit after it: ID@REVISION.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: it cannot be had, or is not of SAM's architecture and geometry.
    """
    directory, found = _find(name)
    try:
        if not (directory / CONFIG).is_file():
            raise CheckpointError(
                f"{directory}: expected a config.json, found none; give a directory in Hugging "
                "Face format (SamModel.save_pretrained writes it)"
            )
        config = read_config(directory / CONFIG)
        model = load_weights(directory, find_weights(directory), config)
        config_sha256, sha256 = hashes_of(directory)
        return Checkpoint(found, model, sha256, name, config_sha256)
    except OSError as error:
        raise CheckpointError(
            f"{directory}: expected a directory that can be read, got {reason(error)}; "
            "see to its owner and mode"
        ) from error


def _find(name: str) -> tuple[Path, str]:
    """Find a checkpoint's directory, and the name that says exactly which it is."""
    if name == "demo":
        return DEMO, name
    try:
        path = Path(name).expanduser()
        if name and path.is_dir():
            return path, name
        is_there = name != "" and path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long; an unknown user's ~; a NUL
        raise CheckpointError(
            f"checkpoint {name!r}: expected a path that can be read, got {reason(error)}; "
            "check the spelling, or its owner and mode"
        ) from error
    if is_there:
        raise _file(path)
    hub_id = None if name.endswith(FILES) else ID.fullmatch(name)
    if hub_id is None:
        raise CheckpointError(
            f'checkpoint {name!r}: expected "demo", an existing directory, or a Hugging Face id '
            "like nielsr/slimsam-77-uniform; found none of these: check the spelling"
        )
    directory, commit = download(hub_id["repository"], hub_id["revision"])
    return directory, f"{hub_id['repository']}@{commit}"


def _file(path: Path) -> CheckpointError:
    """Say what to give instead of a file."""
    directory = path.absolute().parent
    if (directory / CONFIG).is_file() and path.name in (CONFIG, *WEIGHTS):
        return CheckpointError(
            f"checkpoint {path}: expected a directory in Hugging Face format, found a file in one; "
            f"give {directory}"
        )
    return CheckpointError(
        f"checkpoint {path}: expected a directory in Hugging Face format (config.json and "
        "model.safetensors), found a file; SlimSAM's weights are on the hub in that format as "
        "nielsr/slimsam-77-uniform and nielsr/slimsam-50-uniform, SAM's as facebook/sam-vit-base, "
        "-large and -huge; a .pth file of the original SAM or SlimSAM is converted by "
        f"`slimsam-build convert {shlex.quote(str(path))} DIR`"
    )
