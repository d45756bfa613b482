"""The serving configuration that artefacts are made for."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slimsam_build.errors import RepositoryError
from slimsam_client.contract import ModelSpec


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
