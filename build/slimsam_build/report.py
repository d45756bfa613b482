"""The report beside an artefact: what made it and how exact it is."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from slimsam_build.checkpoints import Checkpoint
from slimsam_build.digest import sha256_of
from slimsam_build.machine import Machine
from slimsam_build.parity import BOUNDS, Measured
from slimsam_client.contract import ModelSpec

PACKAGES = ("slimsam-build", "torch", "transformers", "openvino", "onnx", "onnxruntime")


def make_report(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    target: str,
    precision: str,
    measured: Measured,
    files: list[Path],
    most_rows: int,
    refused: Sequence[str] = (),
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Describe one artefact.

    Args:
        checkpoint: what it was made from.
        spec: which model it is.
        target: for which runtime.
        precision: in which precision.
        measured: what the parity gate found for encoder and decoder together.
        files: the artefact's files.
        most_rows: `max_batch_size` of the serving configuration.
        refused: why narrower precisions were refused, in the order in which they were tried.
        machine: what the artefact is bound to, if it is.
    """
    vision = checkpoint.model.config.vision_config
    return {
        "checkpoint": {
            "name": checkpoint.name,
            "sha256": checkpoint.sha256,
            "hidden_size": vision.hidden_size,
            "num_hidden_layers": vision.num_hidden_layers,
        },
        "model": spec.name,
        "target": target,
        "precision": precision,
        "refused": list(refused),
        "max_batch_size": most_rows,
        "bound_to": asdict(machine) if machine else None,
        "files": {
            file.name: {"sha256": sha256_of(file), "bytes": file.stat().st_size} for file in files
        },
        "parity": {**asdict(measured.figures), "bounds": asdict(BOUNDS[precision])},
        "seconds": {"encode": measured.encode_seconds, "decode": measured.decode_seconds},
        "device": machine.gpu if machine else _device(target),
        "versions": {"python": platform.python_version(), **_versions()},
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report as indented JSON."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _device(target: str) -> str:
    if target == "torchscript" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
