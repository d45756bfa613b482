"""Benchmarks as their commands run them, but in this process and on what is built already."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from slimsam_build.checkpoints import Checkpoint


def main_module(command: str) -> str:
    """The module that `python -m` runs."""
    spec = find_spec(command)
    assert spec is not None
    return command if spec.submodule_search_locations is None else f"{command}.__main__"


@pytest.fixture
def run_benchmark(
    demo_repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Call a benchmark's `main` with options, and expect a status; give what it printed.

    The repository that it builds for itself is a copy of the demo checkpoint's.
    """

    @contextmanager
    def lent(checkpoint: Checkpoint, target: str = "openvino") -> Iterator[Path]:
        assert target == "openvino"
        place = Path(tempfile.mkdtemp(dir=tmp_path)) / "lent"
        yield shutil.copytree(demo_repository, place, symlinks=True)

    def run(name: str, *options: object, status: int = 0) -> str:
        module = importlib.import_module(main_module(f"benchmarks.{name}"))
        monkeypatch.setattr(module, "built_repository", lent, raising=False)
        monkeypatch.setattr(sys, "argv", [name, *map(str, options)])
        monkeypatch.setenv("GLIBC_TUNABLES", "")  # which `make bench` sets for its server
        found = module.main()
        captured = capsys.readouterr()
        assert (found or 0) == status, captured.err
        return captured.out

    return run
