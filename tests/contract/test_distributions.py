"""The three distributions as they are installed: every module, data file and command is in them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", ["client", "build", "server"])
def test_a_wheel_holds_all_that_git_holds(part: str, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, ROOT / part], check=True, capture_output=True)
    (wheel,) = tmp_path.glob(f"slimsam_{part}-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"slimsam_{part}"],
        cwd=ROOT / part, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert len(files) > 5 and f"slimsam_{part}/py.typed" in files
    assert set(files) <= packed
    assert any(name.endswith("entry_points.txt") for name in packed)
