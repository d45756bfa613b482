"""`slimsam-build --check`: are the artefacts of a repository those that belong here?

Compares each report with the artefact's files, with the serving configuration, and, where an
artefact is bound to a GPU and a TensorRT, with the machine. Needs neither PyTorch nor a GPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slimsam_build.digest import sha256_of
from slimsam_build.errors import RepositoryError
from slimsam_build.machine import Machine
from slimsam_build.serving_config import max_batch_size
from slimsam_client.contract import DECODER, ENCODER, ModelSpec

ARTEFACTS = {
    "torchscript": "model.pt",
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "tensorrt": "model.plan",
}
"""What each target's Triton backend loads."""
BOUND = {"tensorrt": "TensorRT", "gpu": "GPU", "compute_capability": "compute capability"}


def find_stale(repository: Path, target: str | None, machine: Machine) -> list[str]:
    """Look for artefacts that do not belong here.

    Args:
        repository: the model repository.
        target: the target that is to be served; None checks every target that has artefacts.
        machine: where they are to be served.

    Returns:
        One line for each finding: what is stale, and why. Empty if all is well.
    """
    found = []
    targets = [
        name
        for name in ARTEFACTS
        if name == target or (target is None and _built(repository, name))
    ]
    for name in targets:
        reports = []
        for spec in (ENCODER, DECODER):
            path = repository / spec.name / "1" / ARTEFACTS[name]
            if not path.exists():
                found.append(f"{path}: missing; build target {name}")
                continue
            report = _read(path)
            if report is None:
                found.append(f"{path}: has no readable report beside it; build it again")
                continue
            reports.append(report)
            found += _stale(path, report, machine)
            found += _other_config(repository, spec, name, path, report)
        if len(reports) == 2:
            found += _other_half(repository, name, *reports)
    if not targets:
        found.append(f"{repository}: has no artefacts; run slimsam-build")
    return found


def _built(repository: Path, target: str) -> bool:
    return any(
        (repository / spec.name / "1" / ARTEFACTS[target]).exists() for spec in (ENCODER, DECODER)
    )


def _read(artefact: Path) -> dict[str, Any] | None:
    try:
        report = json.loads(artefact.with_name(f"{artefact.name}.json").read_text("utf-8"))
        checkpoint, bound_to = report["checkpoint"], report["bound_to"]
        readable = (
            all(isinstance(entry["sha256"], str) for entry in report["files"].values())
            and isinstance(checkpoint["sha256"] + checkpoint["name"], str)
            and isinstance(report["max_batch_size"], int)
            and (bound_to is None or set(BOUND) <= set(bound_to))
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return report if readable else None


def _stale(path: Path, report: dict[str, Any], machine: Machine) -> list[str]:
    found = []
    for name, entry in report["files"].items():
        file = path.with_name(name)
        if not file.exists():
            found.append(f"{file}: missing; build it again")
        elif sha256_of(file) != entry["sha256"]:
            found.append(f"{file}: differs from the file that its report measured; build it again")
    for key, what in BOUND.items() if report["bound_to"] else ():
        made, here = report["bound_to"][key], getattr(machine, key)
        if made != here:
            found.append(f"{path}: made for {what} {made}, here is {here or 'none'}; build it here")
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
    repository: Path, target: str, encoder: dict[str, Any], decoder: dict[str, Any]
) -> list[str]:
    ours, theirs = encoder["checkpoint"], decoder["checkpoint"]
    if ours["sha256"] == theirs["sha256"]:
        return []
    return [
        f"{repository}: target {target} has the encoder of {ours['name']} and the decoder of "
        f"{theirs['name']}; build both from one checkpoint"
    ]
