"""Measures on an NVIDIA card what only a card can say: `make gpu`.

    make gpu CHECKPOINT=nielsr/slimsam-77-uniform
    make gpu PYTHON=python3 OPTIONS="--checkpoint slimsam-77"    with that interpreter's packages
    python -m benchmarks.gpu --steps peak encode-fp16

Steps come in the order of their worth. Each is a process of its own that is ended at the limit;
what fails, is cut or cannot be done is named, and the next one follows. The results of steps that
are done are kept, in a directory of the checkpoint and the card, so that the same command goes on
where it was ended; remove a step's file to measure it again. After each step the report is written
anew.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import checkpoints
from benchmarks.gpu.report import line, report
from benchmarks.gpu.setting import Setting, directory_for
from benchmarks.gpu.steps import STEPS, Step
from benchmarks.machine import versions
from slimsam_build.random_checkpoint import GEOMETRIES

RESULTS: Final = Path(__file__).parents[1] / "results" / "gpu"
DONE, IN_PART, LEFT_OUT, FAILED, CUT = "done", "done in part", "left out", "failed", "cut"


def main() -> int:
    """Run the steps, and write the report; give 1 if a step failed or was cut."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [step.name for step in STEPS]
    # fmt: off
    parser.add_argument(
        "--checkpoint", default="slimsam-77",
        help=f"demo, a directory or name, or random weights: {', '.join(GEOMETRIES)}; "
        "default: %(default)s",
    )
    parser.add_argument(
        "--device", default="cuda", choices=("cuda", "cpu"),
        help="cpu: to try what runs there; default: %(default)s",
    )
    parser.add_argument(
        "--steps", nargs="+", default=names, choices=names, metavar="STEP",
        help=f"of {', '.join(names)}; default: all",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=120,
        metavar="SECONDS",
        help="of a step; of plans, three times as much; default: 120",
    )
    parser.add_argument(
        "--largest", type=int, default=1024, metavar="COUNT",
        help="leave out batches of more images, and more prompts and points; default: %(default)s",
    )
    parser.add_argument("--rounds", type=int, default=5, help="at most; default: %(default)s")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR",
        help="default: benchmarks/results/gpu",
    )
    parser.add_argument(
        "--here", action="store_true", help="do the steps in this process, without a limit"
    )
    # fmt: on
    options = parser.parse_args()
    loaded = checkpoints.checkpoint(options.checkpoint)
    directory = directory_for(options.results, loaded, options.checkpoint, options.device)
    del loaded
    setting = Setting(
        options.checkpoint, options.device, directory, options.largest, options.rounds
    )
    directory.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, str] = {}
    for step in (step for step in STEPS if step.name in options.steps):
        path = directory / f"{step.name}.json"
        kept = read(path)
        if kept.get("outcome") != DONE:
            if options.here:
                figures = step.run(setting)
                outcome = IN_PART if figures.get("not done") else DONE
                write(path, {"outcome": outcome, "figures": figures, **about(options.device)})
            else:
                undone = attempt(step, setting, step.limits * options.limit, sys.argv[1:])
                if undone is not None:
                    write(path, undone)
            kept = read(path)
        outcomes[step.name] = kept["outcome"]
        if not options.here:
            print(line(step, kept), flush=True)
            results = {each.name: read(directory / f"{each.name}.json") for each in STEPS}
            (directory / "report.md").write_text(report(setting, STEPS, results))
    if not options.here:
        print(directory / "report.md")
    return int(any(outcome in (FAILED, CUT) for outcome in outcomes.values()))


def attempt(
    step: Step, setting: Setting, limit: float, arguments: list[str]
) -> dict[str, Any] | None:
    """Do a step in a process of its own.

    Args:
        step: to be done.
        setting: of the run.
        limit: in seconds.
        arguments: of this command.

    Returns:
        Why it is not done; None if it is, and has written its results.
    """
    why = step.lacks(setting.device)
    if why is None and step.after and not any(setting.repository.glob("*/1/model.plan")):
        why = f"step {step.after} has left no plans"
    if why is not None:
        return {"outcome": LEFT_OUT, "why": why}
    start = time.monotonic()
    log = setting.directory / f"{step.name}.log"
    command = command_of(step, arguments)
    with log.open("w") as output:
        # A session of its own, to end with it what it has started: a server, compilers.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end(process)
    seconds = time.monotonic() - start
    if status == 0:
        return None
    if status is None:
        return {"outcome": CUT, "why": f"it took more than {limit:g} s", "seconds": seconds}
    said = log.read_text(errors="replace").strip().splitlines()
    return {
        "outcome": FAILED,
        "why": said[-1][:300] if said else f"status {status}",
        "seconds": seconds,
    }


def command_of(step: Step, arguments: list[str]) -> list[str]:
    """Give this command for one step, to be done in its process; the last of two options counts."""
    return [sys.executable, "-m", "benchmarks.gpu", *arguments, "--steps", step.name, "--here"]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process with its session, whether it has ended by itself or not."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def about(device: str) -> dict[str, Any]:
    """Say when, and with what, a step was done."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"measured": stamp, "device": device, "versions": versions()}


def read(path: Path) -> dict[str, Any]:
    """Read a step's results; nothing, if there are none that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def write(path: Path, content: dict[str, Any]) -> None:
    """Write results whole: a run may be ended at any time."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


if __name__ == "__main__":
    raise SystemExit(main())
