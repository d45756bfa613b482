"""Artefacts of a checkpoint, made, checked, and put into a model repository."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from slimsam_build import parity
from slimsam_build.checkpoints import Checkpoint
from slimsam_build.errors import ParityError, RepositoryError
from slimsam_build.graphs import Decoder, Encoder
from slimsam_build.parity import Measured
from slimsam_build.report import make_report, write_report
from slimsam_build.targets import Target, find_target
from slimsam_client.contract import DECODER, ENCODER, ENSEMBLE, ModelSpec

VERSION = "1"


def check_repository(directory: Path) -> None:
    """Check that a directory has the configurations that artefacts are made for.

    Raises:
        RepositoryError: it has not.
    """
    for spec in (ENCODER, DECODER, ENSEMBLE):
        config = directory / spec.name / "config.pbtxt"
        if not config.is_file():
            raise RepositoryError(
                f"{directory}: expected a SlimSAM model repository with {config}, found none; "
                "give --model-repository the project's model_repository/ or a copy of it"
            )


def build(
    checkpoint: Checkpoint,
    target_name: str,
    precision: str,
    directory: Path,
    say: Callable[[str], None] = print,
) -> Measured:
    """Export both models of a checkpoint for one target, gate them, and install them together.

    Artefacts are made beside their place and moved into it only when both have passed, so an
    earlier build stays whole when a new one fails.

    Args:
        checkpoint: what to export.
        target_name: a key of `slimsam_build.targets.TARGETS`.
        precision: "fp32", "fp16" or "bf16".
        directory: the model repository.
        say: called with a line about each step.

    Returns:
        What the parity gate measured.

    Raises:
        TargetError: the target does not offer this precision.
        RepositoryError: the directory is no model repository.
        ParityError: an artefact failed the gate; none is installed.
    """
    target = find_target(target_name, precision)
    check_repository(directory)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=directory) as scratch:
        made = {spec: Path(scratch) / spec.name for spec in (ENCODER, DECODER)}
        for spec, graph in (
            (ENCODER, Encoder(checkpoint.model)),
            (DECODER, Decoder(checkpoint.model)),
        ):
            made[spec].mkdir()
            target.export(graph.eval(), spec, made[spec] / target.ARTEFACT, precision)
            say(f"exported {spec.name} for {target_name}")
        measured = gate(checkpoint, target, precision, made)
        for spec, folder in made.items():
            files = [folder / name for name in target.FILES]
            report = make_report(checkpoint, spec, target_name, precision, measured, files)
            write_report(report, folder / f"{target.ARTEFACT}.json")
        for spec, folder in made.items():
            place = directory / spec.name / VERSION
            place.mkdir(exist_ok=True)
            for name in (*target.FILES, f"{target.ARTEFACT}.json"):
                (folder / name).replace(place / name)
            say(f"installed {place / target.ARTEFACT}")
    return measured


def gate(
    checkpoint: Checkpoint, target: Target, precision: str, made: dict[ModelSpec, Path]
) -> Measured:
    """Run the artefacts in the given folders beside the checkpoint.

    Raises:
        ParityError: they do not compute what the checkpoint computes; their files are removed.
    """
    encoder = target.load(made[ENCODER] / target.ARTEFACT, ENCODER, precision)
    decoder = target.load(made[DECODER] / target.ARTEFACT, DECODER, precision)
    measured = parity.measure(encoder, decoder, checkpoint.model, target.BATCHES)
    try:
        parity.check(measured.figures, precision)
    except ParityError:
        for folder in made.values():
            for name in target.FILES:
                (folder / name).unlink(missing_ok=True)
        raise
    return measured
