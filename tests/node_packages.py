"""Packages of npm that tests use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def installed(source: Path, directory: Path) -> Path:
    """Install what `package.json` of a folder names, and give the new `node_modules`.

    Args:
        source: the folder, with `package-lock.json` beside it.
        directory: where it is installed.
    """
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, directory)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--prefer-offline"],
        cwd=directory,
        check=True,
    )
    return directory / "node_modules"
