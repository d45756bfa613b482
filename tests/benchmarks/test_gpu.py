"""`make gpu` without a card: what of it runs on a CPU, and what it does with steps that fail."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as command, steps
from benchmarks.gpu.graph_steps import SAM_MODEL
from benchmarks.gpu.report import report
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.steps import STEPS, Step

Run = Callable[..., list[str]]
NO_TRITON = "the package triton has no wheel for this machine"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command with the demo checkpoint; give the lines that it printed."""

    def call(*options: object, status: int = 0) -> list[str]:
        given = ["--checkpoint", "demo", "--results", tmp_path, "--rounds", 1, "--largest", 1]
        monkeypatch.setattr(sys, "argv", ["gpu", *map(str, (*given, *options))])
        assert command.main() == status
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put code into the place of what a step's process would run."""

    def replace(code: str) -> None:
        monkeypatch.setattr(command, "command_of", lambda *_: [sys.executable, "-c", code])

    return replace


@pytest.mark.slow
def test_steps_run_on_a_cpu(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process here; the gate is the target's, which test_cuda_forms has."""
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)  # it takes minutes
    names = ["peak", "fast", "encode-fp32", "decode-fp32"]
    run("--device", "cpu", "--here", "--steps", *names)
    (directory,) = tmp_path.iterdir()
    found = {name: json.loads((directory / f"{name}.json").read_text()) for name in names}
    assert {result["outcome"] for result in found.values()} == {"done"}
    assert found["peak"]["figures"]["gflops"]["bf16"] > 0
    (row,) = found["fast"]["figures"]["rows"]
    assert all(side["seconds"] > 0 for side in row["sides"].values()) and len(row["sides"]) == 3
    for name in names[2:]:
        (row,) = found[name]["figures"]["rows"]
        assert row["size"] == 1 and row["flops"] > 0
        assert set(row["sides"]) == {SAM_MODEL, "ours, PyTorch"}
        for side in row["sides"].values():
            assert side["differs"] is None and side["seconds"] > 0
    # The same command keeps them, and its report has them.
    lines = run("--device", "cpu", "--steps", *names)
    assert lines[:-1] == [f"{name}: done" for name in names]
    report = Path(lines[-1]).read_text()
    assert "Nothing of this ran on a card." in report
    assert f"| images, fp32 | {SAM_MODEL} | ours, PyTorch |" in report
    assert "1.00x" in report and "of the peak" in report


def test_without_a_card_each_step_says_why_it_cannot_be_done(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps.torch.cuda, "is_available", lambda: False)
    names = [step.name for step in STEPS if step.card]
    lines = run("--steps", *names)
    assert lines[:-1] == [f"{name}: left out: there is no CUDA device" for name in names]
    assert [step.name for step in STEPS if not step.card] == ["plan"]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_can_be_called_with_its_arguments(step: Step) -> None:
    if "triton" in step.needs:
        pytest.importorskip("triton", reason=NO_TRITON)
    function = step.function
    if isinstance(function, str):
        module, _, name = function.rpartition(".")
        function = getattr(importlib.import_module(f"benchmarks.gpu.{module}"), name)
    inspect.signature(function).bind(None, **step.arguments)


def test_what_is_done_in_part_is_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Step, "run", lambda *_: {"not done": "no such package"})
    run("--device", "cpu", "--here", "--steps", "peak")
    (path,) = tmp_path.glob("*/peak.json")
    assert json.loads(path.read_text())["outcome"] == "done in part"
    monkeypatch.setattr(Step, "run", lambda *_: {})
    run("--device", "cpu", "--here", "--steps", "peak")
    assert json.loads(path.read_text())["outcome"] == "done"


def test_what_an_interpreter_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step("step", "step", "plan", needs=("numpy", "no_such_package"), card=False)
    assert step.lacks("cpu") == "not installed: no_such_package"


def test_a_failure_is_named_and_tried_again(
    run: Run, stub: Callable[[str], None], tmp_path: Path
) -> None:
    stub("raise SystemExit('the reason')")
    lines = run("--device", "cpu", "--steps", "peak", "gate-fp32", status=1)
    assert lines[:-1] == ["peak: failed: the reason", "gate-fp32: failed: the reason"]
    (directory,) = tmp_path.iterdir()
    done = {"outcome": "done", "figures": {"gflops": {"bf16": 1.0}}}
    stub(f"import json; json.dump({done!r}, open({str(directory / 'peak.json')!r}, 'w'))")
    assert run("--device", "cpu", "--steps", "peak")[0] == "peak: done"


def test_a_step_is_cut_with_all_that_it_started(
    run: Run, stub: Callable[[str], None], tmp_path: Path
) -> None:
    marker = tmp_path / "child"
    stub(
        "import subprocess, sys, time; "
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(marker)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    lines = run("--device", "cpu", "--steps", "peak", "--limit", 5, status=1)
    assert lines[0] == "peak: cut: it took more than 5 s"
    if marker.exists() and (child := marker.read_text()):  # a busy machine may be too slow for it
        deadline = time.monotonic() + 60  # it has been killed, and has to be given time to die
        while is_running(child) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not is_running(child)


def is_running(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_plans_come_before_their_times(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "lacks", lambda *_: None)
    assert run("--device", "cpu", "--steps", "plan-times")[0] == (
        "plan-times: left out: step plan has left no plans"
    )


def test_results_of_other_weights_and_cards_lie_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from benchmarks.gpu import setting
    from slimsam_build.checkpoints import load_checkpoint

    demo = load_checkpoint("demo")
    other = replace(demo, sha256="0" * 64)
    here = setting.this_machine()
    names = set()
    for card in ("NVIDIA H100 80GB HBM3", "NVIDIA L4"):
        monkeypatch.setattr(setting, "this_machine", lambda card=card: replace(here, gpu=card))
        for checkpoint in (demo, other):
            names.add(setting.directory_for(Path(), checkpoint, "demo", "cuda").name)
    assert len(names) == 4 and f"demo-{'0' * 8}-nvidia-l4" in names


def test_sizes_that_are_too_large_are_left_out() -> None:
    def sizes(largest: int) -> Any:
        return Setting("demo", "cpu", Path(), largest).sizes(1, 8, 64)

    assert sizes(8) == (1, 8) and sizes(1) == (1,) and sizes(1024) == (1, 8, 64)


def test_a_wrong_tile_of_the_kernel_is_named() -> None:
    pytest.importorskip("triton", reason=NO_TRITON)
    from benchmarks.gpu import kernel_steps

    given = kernel_steps.draw_inputs(2, 2, 14, 16, torch.float32, "cpu")
    expected = list(kernel_steps.in_float64(*given))
    found = kernel_steps.with_bias(*given).transpose(1, 2).contiguous()
    kernel_steps.check_tiles(found, expected, 1e-5)
    found[1, 70, 1] += 1
    with pytest.raises(AssertionError, match="group 1, head 1, queries 64 to 127: differs by"):
        kernel_steps.check_tiles(found, expected, 1e-5)
    found[1, 70, 1] = float("nan")
    with pytest.raises(AssertionError, match="queries 64 to 127: differs by inf"):
        kernel_steps.check_tiles(found, expected, 1e-5)


def test_the_report_has_the_kernels_layers(tmp_path: Path) -> None:
    row = {
        "size": 1, "grid": 64, "seconds": {"(64, 4, 2)": 2e-4, "(64, 8, 2)": 1e-4}, "failed": {},
        "rule": [64, 4, 2], "best": [64, 8, 2], "with_bias_seconds": 5e-4,
        "bytes_per_second": 2.5e11, "exponentials_per_clock": 8.0,
        "most_exponentials_per_clock": 16,
    }  # fmt: skip
    figures = {"precision": "fp16", "width": 16, "heads": 12, "layers": [row]}
    said = report(Setting("demo", "cuda", tmp_path), STEPS, {"kernel": {"figures": figures}})
    assert "| 1, 64 | 500 us | 100 us, 5.0x | (64, 8, 2) | 200 us | 250 | 8.0 of 16 |" in said


@pytest.mark.slow
def test_encoders_with_the_kernel_and_without_run_on_a_cpu(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason=NO_TRITON)
    from benchmarks.gpu import kernel_steps

    found = kernel_steps.encoders(Setting("demo", "cpu", tmp_path, 1, 1), "fp32", (1,))
    (row,) = found["rows"]
    assert len(row["sides"]) == 5 and all(side["differs"] is None for side in row["sides"].values())
