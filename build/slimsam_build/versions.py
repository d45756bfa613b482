"""Versions that name the checkpoint: beside `1/`, a link to it with the checkpoint's number.

Triton serves the highest version of a model. So it serves the link's, answers with it, and refuses
requests for another: no backend decodes an embedding of another checkpoint for those who ask for
the version that gave it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slimsam_build.repository import VERSION
from slimsam_client.contract import ENCODER, OF_CHECKPOINT, model_version

NUMBER: Final = re.compile(r"[4-9]\d{15}")
"""What `model_version` gives: 2^52 and more."""


def find_versions(repository: Path, model: str) -> list[Path]:
    """Find the versions of a model that name checkpoints; a copy may have directories for links."""
    return sorted(path for path in (repository / model).glob("*") if NUMBER.fullmatch(path.name))


def remove_versions(repository: Path) -> None:
    """Remove them, before artifacts change.

    Raises:
        OSError: they cannot be removed.
    """
    for spec in OF_CHECKPOINT:
        for path in find_versions(repository, spec.name):
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)


def add_versions(repository: Path, log: Callable[[str], None]) -> None:
    """Link the version of the artifacts' checkpoint, if they are all of one.

    Args:
        repository: the model repository, whose artifacts are in place.
        log: called with a line where there is no such version.
    """
    reports = (repository / ENCODER.name / VERSION).glob("*.json")
    digests = {_digest(path) for path in reports}
    if len(digests) == 1 and (digest := digests.pop()) is not None:
        link_versions(repository, digest, log)
        return
    log(
        f"{repository}: expected reports of one checkpoint, found those of several, or none; the "
        "models' version names none, and servers of two checkpoints must not share an address"
    )


def _digest(report: Path) -> str | None:
    """Give the digest of a report's checkpoint; None where it cannot be read, as `check` says."""
    try:
        digest = json.loads(report.read_text("utf-8"))["checkpoint"]["sha256"]
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return digest if isinstance(digest, str) else None


def link_versions(repository: Path, digest: str, log: Callable[[str], None]) -> None:
    """Link the version of a checkpoint, which the artifacts are of.

    Args:
        repository: the model repository.
        digest: the checkpoint's.
        log: called with a line where the file system has no links.
    """
    for spec in OF_CHECKPOINT:
        place = repository / spec.name / model_version(digest)
        try:
            place.symlink_to(VERSION)
        except OSError as error:
            log(f"{place}: expected to make a link, got {error}; the model's version names nothing")
