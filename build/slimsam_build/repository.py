"""Artefacts of a checkpoint, made, checked, and put into a model repository."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slimsam_build import parity, plans
from slimsam_build.checkpoints import Checkpoint
from slimsam_build.errors import ParityError, RepositoryError
from slimsam_build.graphs import Decoder, Encoder
from slimsam_build.machine import Machine, this_machine
from slimsam_build.parity import Measured
from slimsam_build.report import make_report, write_report
from slimsam_build.serving_config import max_batch_size
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


@dataclass(frozen=True)
class Built:
    """What a build installed.

    Attributes:
        measured: what the parity gate found.
        precision: of the artefacts.
        refused: why narrower precisions were refused; empty if the wanted one passed.
    """

    measured: Measured
    precision: str
    refused: tuple[str, ...]


def build(
    checkpoint: Checkpoint,
    target_name: str,
    precision: str,
    directory: Path,
    say: Callable[[str], None] = print,
    workspace_mib: int | None = None,
) -> Built:
    """Export both models of a checkpoint for one target, gate them, and install them together.

    Artefacts are made beside their place and moved into it only when both have passed, so an
    earlier build stays whole when a new one fails. Where half precision fails the gate, float32
    takes its place, and the report says why.

    Args:
        checkpoint: what to export.
        target_name: a key of `slimsam_build.targets.TARGETS`.
        precision: "fp32", "fp16" or "bf16".
        directory: the model repository.
        say: called with a line about each step.
        workspace_mib: memory limit of TensorRT's builder, in MiB.

    Returns:
        What was installed.

    Raises:
        TargetError: the target does not offer this precision, or cannot take the graph.
        RepositoryError: the directory is no model repository.
        ParityError: an artefact failed the gate; none is installed.
    """
    target = find_target(target_name, precision)
    check_repository(directory)
    refused: list[str] = []
    while True:
        try:
            measured = _build(
                checkpoint, target, target_name, precision, directory, say, refused, workspace_mib
            )
            return Built(measured, precision, tuple(refused))
        except ParityError as error:
            if precision == "fp32":
                raise
            refused.append(str(error))
            say(f"{error}; building fp32 instead")
            precision = "fp32"


def _build(
    checkpoint: Checkpoint,
    target: Target,
    target_name: str,
    precision: str,
    directory: Path,
    say: Callable[[str], None],
    refused: Sequence[str],
    workspace_mib: int | None,
) -> Measured:
    with tempfile.TemporaryDirectory(prefix=".building-", dir=directory) as scratch:
        made = {spec: Path(scratch) / spec.name for spec in (ENCODER, DECODER)}
        rows = {spec: max_batch_size(directory, spec, target_name) for spec in made}

        def report(
            name: str, files: tuple[str, ...], measured: Measured, machine: Machine | None
        ) -> None:
            for spec, folder in made.items():
                content = make_report(
                    checkpoint, spec, target_name, precision, measured,
                    [folder / file for file in files], rows[spec], refused, machine,
                )  # fmt: skip
                write_report(content, folder / f"{name}.json")

        for spec, graph in (
            (ENCODER, Encoder(checkpoint.model)),
            (DECODER, Decoder(checkpoint.model)),
        ):
            made[spec].mkdir()
            target.export(graph.eval(), spec, made[spec] / target.ARTEFACT, precision)
            say(f"exported {spec.name} for {target_name}")
        measured = gate(checkpoint, target, precision, made)
        report(target.ARTEFACT, target.FILES, measured, None)
        if target_name == "tensorrt" and not plans.missing():
            for spec, folder in made.items():
                cache = directory / spec.name / VERSION / plans.TIMING_CACHE
                cache.parent.mkdir(exist_ok=True)
                source, plan = folder / target.ARTEFACT, folder / plans.ARTEFACT
                plans.build_plan(
                    source, plan, spec, rows[spec], precision, workspace_mib, cache, say
                )
            encoder, decoder = (
                plans.load_plan(folder / plans.ARTEFACT, spec, rows[spec])
                for spec, folder in made.items()
            )
            measured = parity.measure(encoder, decoder, checkpoint.model, batches=True)
            parity.check(measured.figures, precision)
            # With its ONNX, so that --check finds a plan that a later export has overtaken.
            report(plans.ARTEFACT, (plans.ARTEFACT, *target.FILES), measured, this_machine())
        for spec, folder in made.items():
            place = directory / spec.name / VERSION
            place.mkdir(exist_ok=True)
            for file in sorted(folder.iterdir()):
                file.replace(place / file.name)
                if file.suffix != ".json":
                    say(f"installed {place / file.name}")
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
