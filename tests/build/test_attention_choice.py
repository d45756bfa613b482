"""Which plan of the encoder is kept, and that nothing of the one with the kernel ends a build.

TensorRT and the card are played: a plan is a file, which ONNX Runtime runs where it is run at all.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from attention_stand_in import with_stand_in
from transformers import SamModel

from slimsam_build import reference
from slimsam_build.checkpoints import Checkpoint
from slimsam_build.errors import ParityError, TargetError
from slimsam_build.parity import Measured
from slimsam_build.pipeline import build
from slimsam_build.targets import TARGETS, onnx_target
from slimsam_build.targets.target import Job, Run
from slimsam_build.targets.tensorrt import attention_choice, attention_trial
from slimsam_client.contract import BULK_DECODER, DECODER, ENCODER, Arrays, ModelSpec
from slimsam_client.parity.figures import Figures

FASTER = {"kernel": {1: 0.001, 8: 0.007}, "plain": {1: 0.002, 8: 0.015}}
SLOWER = {"kernel": {1: 0.001, 8: 0.016}, "plain": {1: 0.002, 8: 0.015}}
Times = dict[str, dict[int, float]]


@dataclass
class Played:
    """What the other process does, in this one."""

    times: Times
    build: Callable[[Any, Path], object] = lambda recipe, path: path.write_text("kernel")
    run: Callable[[Path, int, Arrays], Arrays] = lambda path, rows, arrays: {}

    def __call__(self) -> Played:
        return self

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *how: object) -> None:
        pass

    def call(self, seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
        functions = {
            attention_trial.build_with_plugin: self.build,
            attention_trial.run_plan: self.run,
            attention_trial.times_of: lambda plans, rows: self.times,
        }
        return functions[function](*arguments)


@dataclass
class Case:
    """A folder with a plan without the kernel, and what is said of the choice."""

    folder: Path
    lines: list[str]
    patch: pytest.MonkeyPatch

    def choose(
        self, played: Played, plain_fails: bool = False, kernel_fails: bool = False
    ) -> attention_choice.Chosen:
        """Choose; `plain_fails` and `kernel_fails` at the gate."""
        self.patch.setattr(attention_choice, "Apart", played)
        (self.folder / "model.plan").write_text("plain")

        def plain(arrays: Arrays) -> Arrays:
            raise AssertionError("is not run but by the gate")

        def gate(run: Run) -> Measured:
            if run is not plain:
                run({})
            if plain_fails if run is plain else kernel_fails:
                raise ParityError("parity gate, fp16: missed")
            return Measured(Figures(0, 1, 1, 0), 1.0 if run is plain else 9.0, 0.5)

        model: Any = None
        checkpoint = Checkpoint("any", model, "0" * 64)
        given = Job(checkpoint, TARGETS["tensorrt"], "fp16", self.folder, log=self.lines.append)
        return attention_choice.choose(given, self.folder, plain, gate)

    @property
    def kept(self) -> str:
        """The plan that is kept, where no other file may be."""
        (path,) = self.folder.iterdir()
        assert path.name == "model.plan"
        return path.read_text()


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(attention_choice, "refusal", lambda job: None)
    monkeypatch.setattr(attention_choice, "export", lambda job, path: path.write_text("onnx"))
    monkeypatch.setattr(Job, "max_batch_size", lambda job, spec: 8)
    return Case(tmp_path, [], monkeypatch)


def test_the_faster_is_kept(case: Case) -> None:
    chosen = case.choose(Played(FASTER))
    assert case.kept == "kernel"
    # Of the card; the gate's own has the way to the other process in it.
    assert chosen.measured.encode_seconds == 0.001
    because = (
        "1 image in 1.00 ms with it and 2.00 ms without, 8 images in 7.00 ms with it and "
        "15.00 ms without"
    )
    found = {"form": "kernel", "because": because, "seconds": FASTER}
    assert chosen.report == {"attention": found}
    assert case.lines == [f"slimsam_encoder: the plan has the attention kernel: {because}"]


def test_it_has_to_be_faster_for_one_image_and_for_many(case: Case) -> None:
    chosen = case.choose(Played(SLOWER))
    assert case.kept == "plain"
    assert chosen.measured.encode_seconds == 1.0
    assert chosen.report["attention"]["form"] == "plain"
    assert chosen.report["attention"]["seconds"] == SLOWER
    (line,) = case.lines
    assert line.startswith("slimsam_encoder: the plan does not have the attention kernel: with it ")


def test_what_fails_the_gate_is_not_kept(case: Case) -> None:
    chosen = case.choose(Played(FASTER), kernel_fails=True)
    assert case.kept == "plain"
    assert chosen.report["attention"] == {
        "form": "plain",
        "because": "parity gate, fp16: missed",
        "seconds": None,
    }
    # The slower one, if it alone passes.
    chosen = case.choose(Played(SLOWER), plain_fails=True)
    assert case.kept == "kernel" and chosen.report["attention"]["form"] == "kernel"
    with pytest.raises(ParityError, match="missed"):
        case.choose(Played(FASTER), plain_fails=True, kernel_fails=True)
    assert case.kept == "plain"


def fail(error: Exception) -> Callable[..., Any]:
    def fails(*arguments: Any) -> Any:
        raise error

    return fails


@pytest.mark.parametrize(
    "played",
    [
        Played(FASTER, build=fail(TargetError("build_with_plugin died: signal SIGABRT"))),
        Played(FASTER, run=fail(TargetError("run_plan died: signal SIGABRT"))),
    ],
)
def test_a_process_that_dies_leaves_the_other_plan(case: Case, played: Played) -> None:
    chosen = case.choose(played)
    assert case.kept == "plain"
    assert chosen.report["attention"]["because"].endswith("died: signal SIGABRT")
    (line,) = case.lines
    assert line.endswith("died: signal SIGABRT")


def test_whatever_is_raised_leaves_the_other_plan(case: Case) -> None:
    case.patch.setattr(attention_choice, "export", fail(RuntimeError("of the exporter")))
    assert case.choose(Played(FASTER)).report["attention"]["form"] == "plain"
    case.patch.setattr(attention_choice, "refusal", lambda job: "the package triton is missing")
    assert case.choose(Played(FASTER)).report["attention"]["form"] == "plain"
    assert case.kept == "plain"
    prefix = "slimsam_encoder: the plan does not have the attention kernel: "
    assert case.lines == [
        f"{prefix}RuntimeError: of the exporter",
        f"{prefix}the package triton is missing",
    ]


def test_a_build_with_the_kernel(
    small: SamModel, empty_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, with the node's stand-in in the gate; and what the reports say."""
    click = reference.all_prompts()[:1]  # three gates, of which the whole is tested elsewhere
    monkeypatch.setattr(reference, "all_prompts", lambda: click)
    for name in ("slimsam_masks", "slimsam_decoder_masks"):
        shutil.rmtree(empty_repository / name)
    target = TARGETS["tensorrt"]
    assert target.finish is not None

    def load(job: Job, spec: ModelSpec, path: Path) -> Run:
        return onnx_target.load(path, spec, "fp16")

    played = replace(
        target.finish,
        missing=lambda: None,
        build=lambda job, spec, onnx_path, path: path.write_bytes(onnx_path.read_bytes()),
        load=load,
    )
    monkeypatch.setitem(TARGETS, "tensorrt", replace(target, finish=played))
    monkeypatch.setattr(attention_choice, "refusal", lambda job: None)
    loaded = functools.cache(lambda path: onnx_target.load(path, ENCODER, "fp16"))
    apart = Played(
        FASTER,
        build=lambda recipe, path: with_stand_in(recipe.onnx_path, path),
        run=lambda path, rows, arrays: loaded(path)(arrays),
    )
    monkeypatch.setattr(attention_choice, "Apart", apart)
    lines: list[str] = []
    checkpoint = Checkpoint("small", small, "0" * 64)
    built = build(checkpoint, "tensorrt", "fp16", empty_repository, lines.append)
    assert built.precision == "fp16" and built.unfinished is None
    assert built.measured.encode_seconds == FASTER["kernel"][1]
    assert any("the plan has the attention kernel: 1 image in 1.00 ms" in line for line in lines)
    place = empty_repository / ENCODER.name / "1"
    # The exported file is the one without plugins; the plan is not.
    assert [each.domain for each in onnx.load(place / "model.plan").functions] == ["slimsam"]
    assert not onnx.load(place / "model.tensorrt.onnx").functions
    assert not list(place.glob("*kernel*"))
    report = json.loads((place / "model.plan.json").read_text())
    assert report["attention"]["form"] == "kernel"
    assert report["attention"]["seconds"]["plain"] == {"1": 0.002, "8": 0.015}
    for spec in (DECODER, BULK_DECODER):
        path = empty_repository / spec.name / "1" / "model.plan.json"
        assert "attention" not in json.loads(path.read_text())
