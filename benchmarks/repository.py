"""The model repository that a benchmark serves: a copy of model_repository/, built."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from slimsam_build.checkpoints import Checkpoint
from slimsam_build.pipeline import build
from slimsam_build.versions import NUMBER
from slimsam_client.contract import AUTOMATIC

REPOSITORY = Path(__file__).parents[1] / "model_repository"


@contextmanager
def built_repository(
    checkpoint: Checkpoint, target: str = "openvino", precision: str = "fp32"
) -> Iterator[Path]:
    """Build a checkpoint; the repository is removed at the end."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "model_repository"
        empty_copy(directory)
        build(checkpoint, target, precision, directory, log=lambda line: None)
        yield directory


def empty_copy(directory: Path) -> None:
    """Copy model_repository/ without what a build has left there."""
    shutil.copytree(REPOSITORY, directory, ignore=_artifacts)


def set_masks_by(repository: Path, masks_by: str) -> None:
    """Write into everything mode's configurations what makes its masks, IN_NUMPY or IN_GRAPH."""
    for path in (repository / AUTOMATIC.name).glob("**/*.pbtxt"):
        config = text_format.Parse(path.read_text(), ModelConfig())
        config.parameters["masks_by"].string_value = masks_by
        path.write_text(text_format.MessageToString(config))


def _artifacts(directory: str, names: list[str]) -> list[str]:
    """Of a directory's files, those that a build has left there."""
    if Path(directory).name != "1":
        return [name for name in names if NUMBER.fullmatch(name)]
    return [name for name in names if name not in (".gitkeep", "model.py")]
