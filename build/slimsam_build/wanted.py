"""Whether artifacts are what a build would make now, by what their reports say of their own.

By the rules of `prepare.key_of`: a checkpoint on the hub counts as it is written, so that nothing
is asked of the network, and of a directory the files do.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from slimsam_build.checkpoint_files import hashes_of
from slimsam_build.errors import CheckpointError, reason

PACKAGE: Final = "slimsam-build"


@dataclass(frozen=True)
class Wanted:
    """What artifacts are compared with.

    Attributes:
        checkpoint: as slimsam-build takes it; None: of any, and by any version of slimsam-build.
        precision: None: in any.
    """

    checkpoint: str | None = None
    precision: str | None = None

    def differences(self, path: Path, report: dict[str, Any]) -> list[str]:
        """Say in one line each what an artifact is not.

        Args:
            path: of the artifact.
            report: the one beside it, which has `checkpoint`.
        """
        found = []
        if self.checkpoint is not None:
            found += _other_checkpoint(path, report["checkpoint"], self.checkpoint)
            found += _other_release(path, report)
        # Where half precision failed the gate and fp32 took its place, it would do so again.
        made = report.get("precision")
        if self.precision not in (None, made, report.get("asked_precision")):
            found.append(
                f"{path}: is in precision {made}, expected {self.precision}; build it again"
            )
        return found


ANYTHING: Final = Wanted()


def _other_checkpoint(path: Path, made: dict[str, Any], wanted: str) -> list[str]:
    try:
        directory = Path(wanted).expanduser()
        if wanted not in ("", "demo") and directory.is_dir():
            if hashes_of(directory) == (made.get("config_sha256"), made["sha256"]):
                return []
            return [f"{path}: was made of other files than {wanted} has; build it again"]
    except (CheckpointError, OSError, RuntimeError, ValueError) as error:
        return [f"{path}: expected to compare it with checkpoint {wanted}, got {reason(error)}"]
    if wanted in (made.get("asked"), made["name"]):
        return []
    return [f"{path}: was made of {made['name']}, expected {wanted}; build it again"]


def _other_release(path: Path, report: dict[str, Any]) -> list[str]:
    try:
        here = version(PACKAGE)
    except PackageNotFoundError:  # it is imported from its source
        return []
    versions = report.get("versions")
    made = versions.get(PACKAGE) if isinstance(versions, dict) else None
    if made == here:
        return []
    return [f"{path}: was made by {PACKAGE} {made}, here is {here}; build it again"]
