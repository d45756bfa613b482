"""The commands of docs/gateway.md, in the order of the page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from running_gateway import Gateway

from slimsam_client.encodings import from_png
from slimsam_gateway.cli import command_parser
from slimsam_gateway.keys import KeyRing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/gateway.md").read_text("utf-8")
README = (ROOT / "gateway/README.md").read_text("utf-8")


def test_commands_run(gateway: Gateway, picture: bytes, tmp_path: Path) -> None:
    """A shell's variables go from one block to the next."""
    for program in ("curl", "jq"):
        if shutil.which(program) is None:
            pytest.skip(f"{program}, which the page's commands use, is not installed")
    with Image.open(ROOT / "examples/scene.png") as scene:
        scene.resize((960, 720)).save(tmp_path / "photo.jpg")
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```$", PAGE)
    assert len(blocks) > 5
    script = "".join(blocks).replace("localhost:8000", "{}:{}".format(*gateway.address))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "/v1/problems#not-kept\nnot kept here: picture" in done.stdout
    mask = from_png((tmp_path / "mask.png").read_bytes())
    assert mask.shape == (720, 960) and mask[310, 420]
    assert KeyRing.read(tmp_path / "gateway.keys").name_of("another") is None


def test_starts_are_of_options_that_there_are() -> None:
    starts = re.findall(r"(?m)^    slimsam-gateway (.+)$", PAGE + README)
    assert len(starts) == 4
    for options in starts:
        command_parser().parse_args(options.split())
