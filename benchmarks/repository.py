"""A copy of model_repository/ as it is committed, to build into."""

from __future__ import annotations

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).parents[1] / "model_repository"


def copy_configurations(directory: Path) -> Path:
    """Copy everything but artefacts.

    Args:
        directory: where to; the copy is made in it.

    Returns:
        The copy.
    """
    target = directory / "model_repository"
    ignore = shutil.ignore_patterns(
        "model.xml*", "model.bin", "model.pt*", "model.onnx*", "*.plan*"
    )
    shutil.copytree(REPOSITORY, target, ignore=ignore)
    return target
