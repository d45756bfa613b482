"""The gateway's page in Debian's Firefox, which is driven by WebDriver BiDi."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import node_packages
import pytest
from page_pictures import DISC, drawn
from running_gateway import encoded, serving

from slimsam_client import SlimSam
from slimsam_client.testing import FakeServer
from slimsam_gateway import GatewaySettings

FOLDER = Path(__file__).parent / "firefox"


def test_a_click_gives_a_mask(tmp_path: Path) -> None:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("Firefox is not installed: `make firefox` installs Debian's")
    node_packages.installed(FOLDER, tmp_path)
    script = shutil.copy(FOLDER / "click.mjs", tmp_path)
    picture = tmp_path / "drawn.png"
    picture.write_bytes(encoded(drawn()))
    with FakeServer() as server, serving(GatewaySettings(url=server.url)) as gateway:
        command = ["node", script, program, str(gateway.http.base_url), picture, *map(str, DISC)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        with SlimSam(server.url) as sam:
            mask = sam.segment(picture, points=[DISC]).best_masks
    found = json.loads(done.stdout)
    assert found["version"].startswith("firefox/")
    assert found["errors"] == []
    assert found["status"].startswith(f"Object 1: {mask.sum():,} pixels")
    assert found["seen"][3] > 0
