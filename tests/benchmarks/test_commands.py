"""Every benchmark is a command, and whatever names one names one that there is."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in (ROOT / "benchmarks").rglob("*.py")
    if '\nif __name__ == "__main__":\n' in path.read_text("utf-8")
)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # from other tests
@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_how_a_command_is_called(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(command, run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m {command} ")


def test_commands_are_called_by_names_that_there_are() -> None:
    kinds = ("*.md", "*.py", "Makefile")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *kinds],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    texts = [path.read_text("utf-8") for name in listed if (path := ROOT / name).exists()]
    named = {name for text in texts for name in re.findall(r"-m (benchmarks(?:\.\w+)+)", text)}
    assert named == {*COMMANDS}
    overview = set(re.findall(r"-m ([\w.]+)", benchmarks.__doc__ or ""))
    assert overview == named - {"benchmarks.memory.client"}  # which benchmarks.memory starts
