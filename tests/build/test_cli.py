"""slimsam-build's exit statuses, and what it says where a file system or a user's option stops it.

A target of small files stands for the real ones, and a gate that asks no model: what is tested is
everything around them.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from limited_files import limited_files

from slimsam_build import machine, masks_parity, parity, pipeline, repository
from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.cli import main
from slimsam_build.digest import sha256_of
from slimsam_build.errors import ParityError
from slimsam_build.masks_parity import MasksMeasured
from slimsam_build.parity import Figures, Measured
from slimsam_build.repository import BUILT
from slimsam_build.scratch import find_leftovers
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Finish, Job, Target
from slimsam_client.contract import DECODER, MASKS, ModelSpec

DOCKER = Path(__file__).parents[2] / "docker"
ARTIFACTS = ("model.xml", "model.bin")


def export(graph: Any, spec: ModelSpec, path: Path, precision: str) -> None:
    path.write_text(f"{spec.name} in {precision}")
    path.with_name("model.bin").write_bytes(b"weights")


@pytest.fixture(scope="module")
def demo() -> Checkpoint:
    return load_checkpoint("demo")


def write_small_info(folder: Path, checkpoint: Checkpoint, target: Target, precision: str) -> None:
    """What `check` compares with the reports, without `SamModel`'s reference answer."""
    answer = folder / f"{target.name}.npz"
    answer.write_bytes(b"answer")
    told = {
        "digest": checkpoint.sha256,
        "precision": precision,
        "reference_sha256": sha256_of(answer),
    }
    (folder / f"{target.name}.json").write_text(json.dumps(told))


@pytest.fixture(autouse=True)
def small_target(demo: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Target:
    target = replace(TARGETS["openvino"], files=ARTIFACTS, export=export, refused={})
    monkeypatch.setitem(TARGETS, "openvino", target)
    monkeypatch.setattr("slimsam_build.checkpoints.load_checkpoint", lambda name: demo)
    # Its answer of SamModel takes seconds, and has tests of its own.
    monkeypatch.setattr(pipeline, "write_info", write_small_info)
    monkeypatch.setattr(pipeline, "gate", lambda *_: Measured(Figures(0, 1, 1, 0), 0.1, 0.01))
    monkeypatch.setattr(pipeline, "gate_masks", lambda *_: MasksMeasured(1, 0, 0, 0, 0.1))
    return target


@pytest.fixture
def bf16_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def gate(job: Job, folders: Any) -> Measured:
        if job.precision != "fp32":
            raise ParityError(
                f"parity gate, {job.precision}: mask_iou_min 0.7, expected at least 0.75"
            )
        return Measured(Figures(0, 1, 1, 0), 0.1, 0.01)

    monkeypatch.setattr(pipeline, "gate", gate)


def build(repository: Path, *options: str) -> int:
    given = ["build", "--checkpoint", "demo", "--target", "openvino", *options]
    return main([*given, "--model-repository", str(repository)])


def installed(repository: Path) -> list[Path]:
    return sorted(repository.glob("*/1/model.xml"))


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("slimsam-build: error: ") and error.count("\n") == 1
    return error


@pytest.mark.usefixtures("bf16_fails")
def test_a_fallback_has_a_status_of_its_own(
    empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(empty_repository, "--precision", "bf16") == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "fp32 was installed, because bf16 failed the parity gate, bf16: mask_iou_min" in error
    assert "--strict" in error
    for path in installed(empty_repository):
        assert path.read_text().endswith("in fp32")
    assert len(installed(empty_repository)) == len(BUILT)
    asked = ["--checkpoint", "demo", "--precision", "bf16"]
    assert main(["check", *asked, "--model-repository", str(empty_repository)]) == 0


@pytest.mark.usefixtures("bf16_fails")
def test_strict_installs_nothing_where_the_precision_fails(
    empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(empty_repository, "--precision", "bf16", "--strict") == 1
    assert "parity gate, bf16: " in the_error(capsys)
    assert installed(empty_repository) == [] and find_leftovers(empty_repository) == []
    assert build(empty_repository, "--strict") == 0
    assert len(installed(empty_repository)) == len(BUILT)


def test_a_precision_that_passes_is_no_fallback(empty_repository: Path) -> None:
    assert build(empty_repository, "--precision", "bf16", "--strict") == 0
    texts = [path.read_text() for path in installed(empty_repository)]
    half = [text for text in texts if text.endswith("in bf16")]
    assert [text for text in texts if text not in half] == [f"{MASKS.name} in fp32"]


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (4, 0), (1, 1), (2, 2), (3, 3)])
def test_the_build_job_is_done_with_a_fallback(tmp_path: Path, status: int, expected: int) -> None:
    (tmp_path / "model_repository").mkdir()
    (tmp_path / "models").mkdir()
    shutil.copy2(DOCKER / "build.sh", tmp_path)
    command = tmp_path / "slimsam-build"
    command.write_text(f'#!/bin/sh\n[ "$1" = check ] && exit 1\nexit {status}\n')
    command.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "build.sh"],
        env={
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "SLIMSAM_MODELS": str(tmp_path / "models"),
            "SLIMSAM_TARGET": "openvino",
            "SLIMSAM_CHECKPOINT": "demo",
        },
    )
    assert done.returncode == expected


def test_what_is_made_on_the_machine_has_a_report_that_is_bound_to_it(
    empty_repository: Path, small_target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TensorRT's plan is, of the files that were exported."""

    def finished(job: Job, spec: ModelSpec, source: Path, path: Path) -> None:
        path.write_text(f"{source.read_text()}, batch {job.max_batch_size(spec)}")

    measured = Measured(Figures(0, 1, 1, 0), 0.2, 0.02)
    monkeypatch.setattr(parity, "measure", lambda *_: measured)
    monkeypatch.setattr(masks_parity, "measure", lambda run: MasksMeasured(1, 0, 0, 0, 0.1))
    finish = Finish("model.plan", lambda: None, finished, lambda *_: lambda arrays: arrays)
    target = replace(small_target, name="tensorrt", finish=finish)
    monkeypatch.setitem(TARGETS, "tensorrt", target)
    built = pipeline.build("demo", "tensorrt", "fp32", empty_repository)
    assert (built.measured, built.unfinished) == (measured, None)
    place = empty_repository / DECODER.name / "1"
    assert (place / "model.plan").read_text() == f"{DECODER.name} in fp32, batch 8"
    exported, made = (
        json.loads((place / f"{name}.json").read_text()) for name in ("model.xml", "model.plan")
    )
    assert exported["bound_to"] is None and set(exported["files"]) == set(ARTIFACTS)
    assert set(made["bound_to"]) >= {"gpu", "tensorrt"}
    assert set(made["files"]) == {"model.plan", *ARTIFACTS}
    check = ["check", "--target", "tensorrt", "--model-repository", str(empty_repository)]
    assert main(check) == 0
    (place / "model.xml").write_text("a later export")
    assert main(check) == 1


def test_what_is_compiled_for_one_kind_of_device_is_bound_to_it(
    empty_repository: Path, small_target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = replace(TARGETS["torch_aoti"], files=("model.pt2", "model.bin"), export=export)
    monkeypatch.setitem(TARGETS, "torch_aoti", target)
    pipeline.build("demo", "torch_aoti", "fp32", empty_repository)
    report = json.loads((empty_repository / DECODER.name / "1" / "model.pt2.json").read_text())
    here = machine.this_machine()
    assert report["bound_to"]["architecture"] == here.architecture
    assert set(report["bound_to"]["instructions"].split()) == set(here.instructions.split())
    assert (report["bound_to"]["gpu"] is not None) is target.uses_cuda()
    assert {name for name, target in TARGETS.items() if target.of_one_device or target.finish} == (
        set(machine.BOUND_TO)
    )


def test_the_former_name_of_build_still_works(demo: Checkpoint, empty_repository: Path) -> None:
    lines: list[str] = []
    with pytest.warns(DeprecationWarning, match=r"slimsam_build\.pipeline\.build"):
        built = repository.build(demo, "openvino", "fp32", empty_repository, say=lines.append)
    assert built.precision == "fp32" and len(installed(empty_repository)) == len(BUILT)
    assert any(line.startswith("installed ") for line in lines)


def test_the_spelling_without_subcommands_does_the_same(
    empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> tuple[int, list[str]]:
        status = main([*arguments, "--model-repository", str(empty_repository)])
        told = capsys.readouterr()
        return status, [*told.out.splitlines()[:-1], *told.err.splitlines()]  # the last has seconds

    options = ["--checkpoint", "demo", "--target", "openvino", "--precision", "bf16"]
    assert said(*options) == said("build", *options)
    check = ["--target", "openvino"]
    assert said("--check", *check) == said(*check, "--check") == said("check", *check) == (0, [])
    (empty_repository / "slimsam_encoder" / "1" / "model.bin").unlink()
    status, lines = said("--check", *check)
    assert (status, lines) == said("check", *check) and status == 1 and len(lines) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "COMMAND"),
        (["install"], "invalid choice: 'install'"),
        (["--target", "openvino"], "expected --checkpoint and --target, or --check"),
        (["build", "--target", "openvino"], "--checkpoint"),
        (["check", "--strict"], "--strict"),
    ],
    ids=["nothing", "another command", "old", "build", "check"],
)
def test_usage_errors(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_help_names_commands_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert all(f"\n    {command} " in told for command in ("build", "check", "convert"))
    assert "  4  fp32 was installed" in told


def test_a_repository_with_spaces_and_links(empty_repository: Path, tmp_path: Path) -> None:
    moved = tmp_path / "my models, all of them"
    empty_repository.rename(moved)
    (tmp_path / "link").symlink_to(moved)
    assert build(tmp_path / "link") == 0
    assert len(installed(moved)) == len(BUILT)
    assert main(["check", "--model-repository", str(moved), "--target", "openvino"]) == 0


def test_a_repository_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert build(tmp_path / "file") == 2
    assert "found a file" in the_error(capsys)
    assert main(["check", "--model-repository", str(tmp_path / "file")]) == 1
    assert main(["check", "--model-repository", str(tmp_path / "none")]) == 1
    assert all(line.startswith("stale: ") for line in capsys.readouterr().err.splitlines())


def test_a_repository_that_is_read_only(
    empty_repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before the checkpoint is fetched."""
    monkeypatch.setattr("slimsam_build.checkpoints.load_checkpoint", pytest.fail)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write everywhere
    assert build(empty_repository) == 2
    assert "read-only" in the_error(capsys)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_errors_of_the_file_system(
    code: int,
    empty_repository: Path,
    small_target: Target,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code), "model.xml")

    monkeypatch.setitem(TARGETS, "openvino", replace(small_target, export=fail))
    assert build(empty_repository) == 2
    assert os.strerror(code) in the_error(capsys)
    assert find_leftovers(empty_repository) == []


@pytest.fixture
def small_files() -> Iterator[None]:
    with limited_files(1 << 20):
        yield


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_that_an_exporter_has_other_words_for(
    empty_repository: Path,
    small_target: Target,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(graph: Any, spec: ModelSpec, path: Path, precision: str) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setitem(TARGETS, "openvino", replace(small_target, export=fail))
    assert build(empty_repository) == 2
    assert os.strerror(errno.EFBIG) in the_error(capsys)


def test_an_exporters_own_fault_is_not_called_a_full_disk(
    empty_repository: Path, small_target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setitem(TARGETS, "openvino", replace(small_target, export=fail))
    with pytest.raises(RuntimeError, match="a fault"):
        build(empty_repository)
    assert find_leftovers(empty_repository) == []


@pytest.mark.parametrize("text", ["0", "-1", "", "1.5", "a", "٣", "9" * 30])
def test_a_workspace_that_is_no_number_of_mebibytes(
    text: str, empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build(empty_repository, f"--workspace={text}")
    assert caught.value.code == 2
    assert "expected MiB, 1 to 1048576" in capsys.readouterr().err.splitlines()[-1]


def test_the_command_for_the_gpu_is_fit_for_a_shell(
    empty_repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small_target: Target,
) -> None:
    finish = TARGETS["tensorrt"].finish
    assert finish is not None
    finish = replace(finish, missing=lambda: "there is no GPU", rehearse=None)
    monkeypatch.setitem(TARGETS, "tensorrt", replace(small_target, finish=finish))
    moved = empty_repository.rename(tmp_path / "my models")
    options = ["--checkpoint", "demo", "--target", "tensorrt", "--strict", "--workspace", "512"]
    assert main(["build", *options, "--model-repository", str(moved)]) == 3
    error = capsys.readouterr().err
    assert f"-v '{moved}:/models' " in error
    assert " build --checkpoint demo" in error and "--workspace 512 --strict" in error
    assert len(list(moved.glob("*/1/model.xml"))) == len(BUILT)
