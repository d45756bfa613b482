"""From a checkpoint to artifacts in a model repository: made, gated, and installed together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import SamModel

from slimsam_build import checkpoints, masks_parity, parity
from slimsam_build.checkpoints import Checkpoint
from slimsam_build.errors import BuildError, ParityError
from slimsam_build.machine import Machine, this_machine
from slimsam_build.masks_parity import MasksMeasured
from slimsam_build.parity import Measured
from slimsam_build.report import make_report, write_report
from slimsam_build.repository import built_models, cannot_write, check_repository
from slimsam_build.scratch import Scratch, open_scratch
from slimsam_build.served_info import write_info
from slimsam_build.targets import find_target
from slimsam_build.targets.target import Chosen, Finish, Job, Run, Target
from slimsam_client.contract import BULK_DECODER, DECODER, ENCODER, INFO, MASKS, ModelSpec

Folders = dict[ModelSpec, Path]
"""Where a build makes each model's files."""


@dataclass(frozen=True)
class Built:
    """What a build installed.

    Attributes:
        measured: what the parity gate found.
        precision: of the artifacts.
        refused: why narrower precisions were refused; empty if the wanted one passed.
        unfinished: what this machine lacks to make what Triton loads of the exported files, which
            are in place and gated; None if nothing is left to do.
    """

    measured: Measured
    precision: str
    refused: tuple[str, ...]
    unfinished: str | None = None


def build(
    checkpoint: Checkpoint | str,
    target: str,
    precision: str,
    directory: Path,
    log: Callable[[str], None] = print,
    workspace_mib: int | None = None,
    strict: bool = False,
) -> Built:
    """Export both models of a checkpoint for one target, gate them, and install them together.

    Artifacts are made beside their place and moved into it only when both have passed, so an
    earlier build stays whole when a new one fails. Where half precision fails the gate, float32
    takes its place, unless that is forbidden, and the report says why.

    Args:
        checkpoint: what to export: a checkpoint, or what `load_checkpoint` takes, which is loaded
            once everything else has been checked.
        target: a key of `slimsam_build.targets.TARGETS`.
        precision: "fp32", "fp16" or "bf16".
        directory: the model repository.
        log: called with a line about each step.
        workspace_mib: memory limit of TensorRT's builder, in MiB.
        strict: never build float32 in place of a half precision that fails the gate.

    Returns:
        What was installed.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        TargetError: the target does not offer this precision, or cannot take the graph.
        RepositoryError: the directory is no model repository, cannot be written to (a full disk
            included), or has another build at work in it.
        ParityError: an artifact failed the gate; none is installed.
    """
    found = find_target(target, precision)
    check_repository(directory)
    if isinstance(checkpoint, str):
        checkpoint = checkpoints.load_checkpoint(checkpoint)
    job = Job(checkpoint, found, precision, directory, workspace_mib=workspace_mib, log=log)
    size = sum(value.nbytes for value in checkpoint.model.state_dict().values())
    try:
        with open_scratch(directory) as scratch:
            while True:
                try:
                    built = _make(job, scratch)
                    scratch.install(log)
                    return built
                except ParityError as error:
                    if job.precision == "fp32" or strict:
                        raise
                    log(f"{error}; building fp32 instead")
                    job = replace(
                        job,
                        precision="fp32",
                        refused=(*job.refused, str(error)),
                        asked_precision=precision,
                    )
                    scratch.clear()
                except BuildError:
                    raise
                except Exception:
                    scratch.check_space(size)  # raises an OSError if that was the cause
                    raise
    except OSError as error:
        raise cannot_write(directory, error) from error


def _make(job: Job, scratch: Scratch) -> Built:
    """Make and gate artifacts and reports in the scratch folders."""
    folders = {spec: scratch.folder(spec.name) for spec in built_models(job.repository)}
    target = job.target
    export(job.checkpoint.model, target, job.precision, folders, job.log)
    measured = gate(job, folders)
    masks = gate_masks(job, folders)
    _report(job, folders, target.files, measured, masks, _bound_to(target))
    if target.of_one_device and not target.uses_cuda():
        job.log(f"{target.name}: compiled for this machine's CPU; for a GPU, build there")
    unfinished = None
    if target.finish is not None and (unfinished := target.finish.missing()) is None:
        measured = _finish(job, target.finish, folders)
    elif target.finish is not None and target.finish.rehearse is not None:
        for spec in _exported(folders):
            target.finish.rehearse(job, spec, folders[spec] / target.artifact)
    if (job.repository / INFO.name / "config.pbtxt").is_file():  # a server may do without it
        write_info(scratch.folder(INFO.name), job.checkpoint, target, job.precision)
    return Built(measured, job.precision, job.refused, unfinished)


def export(
    model: SamModel,
    target: Target,
    precision: str,
    folders: Folders,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Export a checkpoint's model for a target, ungated.

    Args:
        model: the checkpoint's.
        target: for which runtime.
        precision: "fp32", "fp16" or "bf16".
        folders: where the files of each model go, existing directories; slimsam_masks may lack.
        log: called with a line about each graph.
    """
    graphs = target.graphs_here
    for spec in _exported(folders):
        graph = graphs[spec](model).eval()
        # The masks' graph has a precision of its own.
        target.export(
            graph,
            spec,
            folders[spec] / target.artifact,
            "fp32" if spec == MASKS else precision,
        )
        log(f"exported {spec.name} for {target.name}")
    _copy_decoder(folders, target.files)


def gate(job: Job, folders: Folders) -> Measured:
    """Run the exported artifacts in the given folders beside the checkpoint.

    Raises:
        ParityError: they do not compute what the checkpoint computes.
    """
    target = job.target
    encoder, decoder = (
        target.load(folders[spec] / target.artifact, spec, job.precision)
        for spec in (ENCODER, DECODER)
    )
    measured = parity.measure(encoder, decoder, job.checkpoint.model, target.batches)
    parity.check(measured.figures, job.precision, target.bounds)
    return measured


def gate_masks(job: Job, folders: Folders) -> MasksMeasured | None:
    """Run the exported slimsam_masks in the given folders beside NumPy; None if there is none.

    Raises:
        ParityError: it does not compute the same.
    """
    if MASKS not in folders:
        return None
    path = folders[MASKS] / job.target.artifact
    return _checked(job.target.load(path, MASKS, job.precision_of(MASKS)))


def _checked(run: Run) -> MasksMeasured:
    measured = masks_parity.measure(run)
    masks_parity.check(measured)
    return measured


def _exported(folders: Folders) -> list[ModelSpec]:
    """Give the models that have a graph of their own."""
    return [spec for spec in (ENCODER, DECODER, MASKS) if spec in folders]


def _finish(job: Job, finish: Finish, folders: Folders) -> Measured:
    """Make and gate what Triton loads of the exported files, with its reports."""
    for spec in _exported(folders):
        folder = folders[spec]
        finish.build(job, spec, folder / job.target.artifact, folder / finish.artifact)
    encoder, decoder = (
        finish.load(job, spec, folders[spec] / finish.artifact) for spec in (ENCODER, DECODER)
    )

    def gated(encoder: Run) -> Measured:
        measured = parity.measure(encoder, decoder, job.checkpoint.model, job.target.batches)
        parity.check(measured.figures, job.precision, job.target.bounds)
        return measured

    if finish.choose is None:
        chosen = Chosen(gated(encoder), {})
    else:
        chosen = finish.choose(job, folders[ENCODER], encoder, gated)
    masks = None
    if MASKS in folders:
        masks = _checked(finish.load(job, MASKS, folders[MASKS] / finish.artifact))
    _copy_decoder(folders, (finish.artifact,))
    # With the exported files, so that `check` finds an artifact that a later export has overtaken.
    files = (finish.artifact, *job.target.files)
    _report(job, folders, files, chosen.measured, masks, this_machine(), chosen.report)
    return chosen.measured


def _bound_to(target: Target) -> Machine | None:
    """Give the machine that exported files are bound to; None if they fit any."""
    if not target.of_one_device:
        return None
    return this_machine() if target.uses_cuda() else this_machine().without_gpu()


def _copy_decoder(folders: Folders, files: tuple[str, ...]) -> None:
    """Give the decoder for many prompts what the other has."""
    for name in files:
        shutil.copyfile(folders[DECODER] / name, folders[BULK_DECODER] / name)


def _report(
    job: Job,
    folders: Folders,
    files: tuple[str, ...],
    measured: Measured,
    masks: MasksMeasured | None,
    machine: Machine | None = None,
    of_encoder: Mapping[str, Any] | None = None,
) -> None:
    """Write a report beside the first of an artifact's files, of each model."""
    for spec, folder in folders.items():
        paths = [folder / name for name in files]
        found = masks if spec == MASKS and masks is not None else measured
        report = make_report(job, spec, found, paths, machine)
        if spec == ENCODER and of_encoder is not None:
            report |= of_encoder
        write_report(report, folder / f"{files[0]}.json")
