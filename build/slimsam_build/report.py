"""The report beside an artifact: what made it and how exact it is."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from slimsam_build.digest import sha256_of
from slimsam_build.machine import Machine
from slimsam_build.masks_parity import MasksMeasured
from slimsam_build.parity import Measured
from slimsam_build.targets.target import Job, Target
from slimsam_client.contract import ModelSpec

PACKAGES = ("slimsam-build", "torch", "transformers", "openvino", "onnx", "onnxruntime")


def make_report(
    job: Job,
    spec: ModelSpec,
    measured: Measured | MasksMeasured,
    files: list[Path],
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Describe one artifact.

    Args:
        job: what it was made for.
        spec: which model it is.
        measured: what the parity gate found: for encoder and decoder together, or for masks.
        files: the artifact's files.
        machine: what the artifact is bound to, if it is.
    """
    checkpoint = job.checkpoint
    vision = checkpoint.model.config.vision_config
    return {
        "checkpoint": {
            "name": checkpoint.name,
            "asked": checkpoint.asked,
            "sha256": checkpoint.sha256,
            "config_sha256": checkpoint.config_sha256,
            "hidden_size": vision.hidden_size,
            "num_hidden_layers": vision.num_hidden_layers,
        },
        "model": spec.name,
        "target": job.target.name,
        "precision": job.precision_of(spec),
        "asked_precision": job.asked_precision or job.precision,
        "refused": list(job.refused),
        "max_batch_size": job.max_batch_size(spec),
        "bound_to": asdict(machine) if machine else None,
        "files": {
            file.name: {"sha256": sha256_of(file), "bytes": file.stat().st_size} for file in files
        },
        **_found(measured, job),
        "device": machine.gpu if machine and machine.gpu else _device(job.target),
        "versions": {"python": platform.python_version(), **_versions()},
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report as indented JSON."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _found(measured: Measured | MasksMeasured, job: Job) -> dict[str, Any]:
    if isinstance(measured, MasksMeasured):
        return {"parity": measured.as_report(), "seconds": {"masks": measured.seconds}}
    return {
        "parity": {**asdict(measured.figures), "bounds": asdict(job.target.bounds[job.precision])},
        "seconds": {"encode": measured.encode_seconds, "decode": measured.decode_seconds},
    }


def _device(target: Target) -> str:
    if target.uses_cuda():
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
