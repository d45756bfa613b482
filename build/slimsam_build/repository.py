"""The model repository: its files for each target, its check, and what its configurations say.

Without PyTorch: a server that checks its artifacts has none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slimsam_build.errors import RepositoryError, reason
from slimsam_build.old_names import build as build
from slimsam_client.contract import ANY_VERSION, MASKS, MODELS, OF_CHECKPOINT, ModelSpec

VERSION: Final = ANY_VERSION
"""The version of each model, and the name of its directory; `versions` has a second name for it."""
BUILT: Final = (*OF_CHECKPOINT, MASKS)
"""Models that have artifacts; a repository may do without slimsam_masks."""
ARTIFACTS: Final = {
    "torchscript": ("model.pt",),
    "onnxruntime": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "tensorrt": ("model.plan",),
    "torch_aoti": ("model.pt2",),
}
"""Files that each target's Triton backend loads; the report lies beside the first, as NAME.json."""
REFERENCE_SHA256: Final = "reference_sha256"
"""What slimsam_info's TARGET.json has of the reference answer beside it, TARGET.npz."""


def built_models(directory: Path) -> tuple[ModelSpec, ...]:
    """Give the models that a repository has artifacts of."""
    has_masks = (directory / MASKS.name / "config.pbtxt").is_file()
    return BUILT if has_masks else OF_CHECKPOINT


def check_repository(directory: Path) -> None:
    """Check that artifacts can be made for a directory's configurations and put beside them.

    Raises:
        RepositoryError: it is no model repository, or cannot be written to.
    """
    if directory.exists() and not directory.is_dir():
        raise _no_repository(directory, "the directory of a SlimSAM model repository", "a file")
    for spec in MODELS:
        try:
            config = directory / spec.name / "config.pbtxt"
            found = config.is_file()
        except OSError as error:
            raise cannot_write(directory, error) from error
        if not found:
            raise _no_repository(directory, f"a SlimSAM model repository with {config}", "none")
    for spec in built_models(directory):
        place = directory / spec.name / VERSION
        if not place.exists():
            place = place.parent
        if not os.access(place, os.W_OK | os.X_OK):
            raise RepositoryError(
                f"{place}: expected a directory that this user may write to, found one that is "
                "read-only; change its owner or mode, or build in a copy of the repository"
            )


def _no_repository(directory: Path, expected: str, found: str) -> RepositoryError:
    return RepositoryError(
        f"{directory}: expected {expected}, found {found}; "
        "give --model-repository the project's model_repository/ or a copy of it"
    )


def cannot_write(directory: Path, error: OSError) -> RepositoryError:
    """Say that a repository's file system refused something."""
    return RepositoryError(
        f"{directory}: expected to read and write files in this model repository, got "
        f"{reason(error)}; see to its space, owner and mode, and build again"
    )


def max_batch_size(repository: Path, spec: ModelSpec, target: str) -> int:
    """Read a model's largest batch from its configuration for a target.

    Args:
        repository: the model repository.
        spec: the model.
        target: a target; `config.pbtxt` counts where `configs/<target>.pbtxt` does not exist.

    Raises:
        RepositoryError: the file cannot be read as a model configuration.
    """
    path = repository / spec.name / "configs" / f"{target}.pbtxt"
    if not path.is_file():
        path = repository / spec.name / "config.pbtxt"
    try:
        config = text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeError, text_format.ParseError) as error:
        raise RepositoryError(
            f"{path}: expected a Triton model configuration, found {error}; restore the file"
        ) from error
    size: int = config.max_batch_size
    return size
