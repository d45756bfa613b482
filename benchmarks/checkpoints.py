"""The checkpoint that a benchmark is asked to serve, and the options that name it."""

from __future__ import annotations

import argparse
import tempfile

from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.random_checkpoint import GEOMETRIES, random_checkpoint


def add_model_options(parser: argparse.ArgumentParser, checkpoint: str = "demo") -> None:
    """Add `--checkpoint`, with this default, and `--target`."""
    parser.add_argument(
        "--checkpoint", default=checkpoint,
        help=f"demo, a directory or name, or random weights: {', '.join(GEOMETRIES)}; "
        "default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--target", default="openvino", help="default: %(default)s")


def checkpoint(name: str) -> Checkpoint:
    """Load a checkpoint, or make one with random weights."""
    if name not in GEOMETRIES:
        return load_checkpoint(name)
    with tempfile.TemporaryDirectory() as directory:
        random_checkpoint(name).save_pretrained(directory)
        return load_checkpoint(directory)
