"""What a release needs: a script that refuses what is not ready, and a citation of both papers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from slimsam_client.version import __version__

ROOT = Path(__file__).parents[2]
HOME = "https://slimsam-on-triton.example"
PARTS = ("client", "build", "server", "gateway")
WITH_LINKS = [*(f"{part}/pyproject.toml" for part in PARTS), "CITATION.cff"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the script looks at, as if the project had a home and the changes a date."""
    script, version = ".ci/check-release", "client/slimsam_client/version.py"
    for name in (script, version, *WITH_LINKS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    for name in WITH_LINKS:
        text = (tmp_path / name).read_text().replace(HOME, "https://forge.test/slimsam")
        (tmp_path / name).write_text(text)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {__version__} (2027-01-31)\n")
    return tmp_path


def check(tree: Path, tag: str = f"v{__version__}") -> tuple[int, str]:
    done = subprocess.run([tree / ".ci/check-release", tag], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_what_is_ready_is_released(tree: Path) -> None:
    assert check(tree) == (0, "")


def test_a_tag_of_another_version_is_refused(tree: Path) -> None:
    status, said = check(tree, "v0.0.9")
    assert status == 1 and f"expected the tag v{__version__}" in said and "got v0.0.9" in said


def test_changes_without_a_date_are_refused(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text(f"# Changelog\n\n## {__version__} (unreleased)\n")
    status, said = check(tree)
    assert status == 1 and "CHANGELOG.md" in said


@pytest.mark.parametrize("name", WITH_LINKS)
def test_links_that_lead_nowhere_are_refused(tree: Path, name: str) -> None:
    path = tree / name
    path.write_text(path.read_text().replace("https://forge.test/slimsam", HOME))
    status, said = check(tree)
    assert status == 1 and name in said


def test_the_citation_names_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    papers = {paper["url"]: paper["title"] for paper in citation["references"]}
    assert papers == {
        "https://arxiv.org/abs/2304.02643": "Segment Anything",
        "https://arxiv.org/abs/2312.05284": "SlimSAM: 0.1% Data Makes Segment Anything Slim",
    }
