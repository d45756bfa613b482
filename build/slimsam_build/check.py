"""`slimsam-build check`: are the artifacts of a repository those that belong here?

Compares each report with the artifact's files, with the serving configuration, with what is asked
for, and, where an artifact is bound to a kind of machine, with this one; and looks for folders
beside the models that keep Triton from starting. Needs neither PyTorch nor a GPU.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from slimsam_build.digest import sha256_of
from slimsam_build.errors import RepositoryError, reason
from slimsam_build.machine import BOUND_TO, Machine
from slimsam_build.repository import (
    ARTIFACTS,
    BUILT,
    REFERENCE_SHA256,
    VERSION,
    built_models,
    max_batch_size,
)
from slimsam_build.scratch import OLD_NAMES, find_leftovers, is_building
from slimsam_build.versions import find_versions
from slimsam_build.wanted import ANYTHING, Wanted
from slimsam_client.contract import ENCODER, INFO, OF_CHECKPOINT, ModelSpec, model_version


def find_stale(
    repository: Path, target: str | None, machine: Machine, wanted: Wanted = ANYTHING
) -> list[str]:
    """Look for artifacts that do not belong here.

    Args:
        repository: the model repository.
        target: the target that is to be served; None checks every target that has artifacts.
        machine: where they are to be served.
        wanted: what they are to be; by default, whatever was built.

    Returns:
        One line for each finding: what is stale, and why. Empty if all is well.
    """
    found = _no_models(repository)
    targets = [
        name
        for name in ARTIFACTS
        if name == target or (target is None and _built(repository, name))
    ]
    for name in targets:
        reports = []
        for spec in built_models(repository):
            path = repository / spec.name / VERSION / ARTIFACTS[name][0]
            if not path.exists():
                found.append(f"{path}: missing; build target {name}")
                continue
            report = _read(path, name)
            if report is None:
                found.append(f"{path}: has no readable report beside it; build it again")
                continue
            if spec in OF_CHECKPOINT:  # the others have nothing of a checkpoint
                reports.append(report)
            for folder in _places(repository, spec):
                found += _other_files(folder / path.name, report)
            found += [
                f"{path}: made for {what}; build it here"
                for what in machine.differences(name, report["bound_to"])
            ]
            found += _other_config(repository, spec, name, path, report)
        if len(reports) == len(OF_CHECKPOINT):
            encoder, *decoders = reports
            place = repository / ENCODER.name / VERSION / ARTIFACTS[name][0]
            found += wanted.differences(place, encoder)
            found += _other_half(repository, name, encoder, decoders)
            found += _other_info(repository, name, encoder)
            found += _other_version(repository, name, encoder)
    if not targets:
        found.append(f"{repository}: has no artifacts; run slimsam-build build")
    return found


def find_remains(repository: Path) -> list[str]:
    """Look for what builds left that were killed, and that disturbs no server.

    Returns:
        One line for each folder. Empty while a build is at work.
    """
    if is_building(repository):
        return []
    return [
        f"{folder}: left by a build that was killed; the next build removes it"
        for folder in find_leftovers(repository)
        if folder.parent != repository
    ]


def _no_models(repository: Path) -> list[str]:
    """Folders that Triton takes for models, and starts none because of them."""
    try:
        folders = [path for path in sorted(repository.iterdir()) if path.is_dir()]
    except OSError as error:
        return [f"{repository}: expected a model repository, got {reason(error)}"]
    old = set(repository.glob(OLD_NAMES))
    return [
        f"{folder}: Triton does not start beside a folder without config.pbtxt; "
        + ("a killed build left it, the next build removes it" if folder in old else "move it away")
        for folder in folders
        if not os.path.isfile(folder / "config.pbtxt")  # False, too, where it may not be read
    ]


def _built(repository: Path, target: str) -> bool:
    return any((repository / spec.name / VERSION / ARTIFACTS[target][0]).exists() for spec in BUILT)


def _read(artifact: Path, target: str) -> dict[str, Any] | None:
    try:
        report = json.loads(artifact.with_name(f"{artifact.name}.json").read_text("utf-8"))
        checkpoint, bound_to = report["checkpoint"], report["bound_to"]
        readable = (
            all(isinstance(entry["sha256"], str) for entry in report["files"].values())
            and isinstance(checkpoint["sha256"] + checkpoint["name"], str)
            and isinstance(report["max_batch_size"], int)
            and (bound_to is None or set(BOUND_TO.get(target, ())) <= bound_to.keys())
            and (bound_to is None or isinstance(bound_to.get("instructions", ""), str))
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return report if readable else None


def _places(repository: Path, spec: ModelSpec) -> list[Path]:
    """Give the directories of a model's artifacts: Triton serves the highest version's.

    Versions that name a checkpoint are links to it; a copy may have directories in their place.
    """
    place = repository / spec.name / VERSION
    others = find_versions(repository, spec.name)
    return [place, *(other for other in others if other.resolve() != place.resolve())]


def _other_files(path: Path, report: dict[str, Any]) -> list[str]:
    found = []
    for name, entry in report["files"].items():
        file = path.with_name(name)
        try:
            if not file.exists():
                found.append(f"{file}: missing; build it again")
            elif sha256_of(file) != entry["sha256"]:
                found.append(
                    f"{file}: differs from the file that its report measured; build it again"
                )
        except OSError as error:
            found.append(f"{file}: cannot be read, {reason(error)}; see to its owner and mode")
    return found


def _other_config(
    repository: Path, spec: ModelSpec, target: str, path: Path, report: dict[str, Any]
) -> list[str]:
    try:
        now = max_batch_size(repository, spec, target)
    except RepositoryError as error:
        return [str(error)]
    made = report["max_batch_size"]
    if made == now:
        return []
    return [f"{path}: made for max_batch_size {made}, its configuration says {now}; build it again"]


def _other_half(
    repository: Path, target: str, encoder: dict[str, Any], decoders: list[dict[str, Any]]
) -> list[str]:
    for decoder in decoders:
        ours, theirs = encoder["checkpoint"], decoder["checkpoint"]
        if ours["sha256"] != theirs["sha256"]:
            return [
                f"{repository}: target {target} has the encoder of {ours['name']} and "
                f"{decoder['model']} of {theirs['name']}; build both from one checkpoint"
            ]
        # They are measured together, and no two measurements are equal to the last digit.
        if any(encoder.get(key) != decoder.get(key) for key in ("precision", "parity", "seconds")):
            return [
                f"{repository}: target {target} has the encoder of one build and "
                f"{decoder['model']} of another; build it again"
            ]
    return []


def _other_version(repository: Path, target: str, report: dict[str, Any]) -> list[str]:
    """Look at the versions that name a checkpoint; a repository may do without them."""
    digest = report["checkpoint"]["sha256"]
    return [
        f"{path}: names another checkpoint than the artifacts of target {target} are of; "
        "build it again"
        for spec in OF_CHECKPOINT
        for path in find_versions(repository, spec.name)
        if path.name != model_version(digest)
    ]


def _other_info(repository: Path, target: str, report: dict[str, Any]) -> list[str]:
    """Compare what the server will say of the artifacts; a repository may do without it."""
    path = repository / INFO.name / VERSION / f"{target}.json"
    answer = path.with_suffix(".npz")
    if not (repository / INFO.name / "config.pbtxt").is_file():
        return []
    for file in (path, answer):
        if not file.exists():  # of a build before there was slimsam_info: graphs are outdated, too
            return [f"{file}: missing; build it again"]
    try:
        info = json.loads(path.read_text("utf-8"))
        said = info["digest"], info["precision"]
        stated = info.get(REFERENCE_SHA256)
        is_its_answer = stated == sha256_of(answer)
    except (OSError, ValueError, TypeError, LookupError) as error:
        return [f"{path}: cannot be read, {reason(error)}; build it again"]
    if said != (report["checkpoint"]["sha256"], report.get("precision")):
        return [f"{path}: tells of another build than the artifacts are of; build it again"]
    if stated is None:  # of an older build
        return [f"{path}: has no hash of {answer.name}; build it again"]
    if not is_its_answer:
        return [f"{answer}: differs from the file whose hash {path.name} has; build it again"]
    return []
