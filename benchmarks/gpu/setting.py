"""What every step is told: checkpoint, device, sizes, and where its results go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import SamModel

from benchmarks import checkpoints
from benchmarks.machine import this_machine
from slimsam_build.checkpoints import Checkpoint


@dataclass(frozen=True)
class Setting:
    """A run of `python -m benchmarks.gpu`.

    Attributes:
        checkpoint: its name, as `benchmarks.checkpoints` takes it.
        device: "cuda"; or "cpu", to try what of a step runs there.
        directory: of this checkpoint and card.
        largest: batches, prompts and points of more than this are left out.
        rounds: how many turns each side has, of several calls.
    """

    checkpoint: str
    device: str
    directory: Path
    largest: int = 1024
    rounds: int = 5

    @property
    def repository(self) -> Path:
        """The model repository that the steps for TensorRT share."""
        return self.directory / "repository"

    @property
    def points_across(self) -> int:
        """Points along a side of everything mode's grid: 1024 points, or 64."""
        return 32 if self.largest >= 1024 else 8

    def able(self, precision: str) -> str:
        """Give the precision, or float32 where the device is a CPU."""
        return precision if self.device == "cuda" else "fp32"

    def load(self) -> Checkpoint:
        """Load the checkpoint, or make it."""
        return checkpoints.checkpoint(self.checkpoint)

    def model(self) -> SamModel:
        """Load the checkpoint's model, in float32 and on the CPU."""
        return self.load().model

    def sizes(self, *wanted: int) -> tuple[int, ...]:
        """Of these sizes those that are not too large, and the smallest in any case."""
        return tuple(size for size in wanted if size <= self.largest) or wanted[:1]


def directory_for(results: Path, checkpoint: Checkpoint, name: str, device: str) -> Path:
    """Name the directory of a checkpoint and a card.

    Args:
        results: where those of all are.
        checkpoint: whose hash tells other weights of the same name apart.
        name: as it was asked for; a path gives its last part.
        device: "cuda" or "cpu".
    """
    machine = this_machine()
    card = (
        machine.gpu if device == "cuda" and machine.gpu else f"{machine.processor} without a card"
    )
    words = f"{Path(name).name} {checkpoint.sha256[:8]} {card}"
    return results / re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def synchronize(device: str) -> None:
    """Wait until the device has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()
