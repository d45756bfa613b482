"""The four distributions: every module, data file and command, and what an index shows."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from trove_classifiers import classifiers as known_classifiers

from slimsam_client.version import __version__

ROOT = Path(__file__).parents[2]
PARTS = ["client", "build", "server", "gateway"]
KNOWN_PYTHONS = [f"3.{minor}" for minor in range(9, 16)]

Built = Callable[[str], Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build a distribution's wheel and sdist, once; give their directory."""
    directories: dict[str, Path] = {}

    def of_part(part: str) -> Path:
        if part not in directories:
            directories[part] = tmp_path_factory.mktemp(part)
            build(ROOT / part, directories[part])
        return directories[part]

    return of_part


def build(source: Path, directory: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(directory)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


def opened(directory: Path) -> zipfile.ZipFile:
    (wheel,) = directory.glob("*.whl")
    return zipfile.ZipFile(wheel)


def metadata(directory: Path) -> Message:
    archive = opened(directory)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return BytesParser().parsebytes(archive.read(name))


def test_the_lowest_versions_are_those_that_the_client_declares() -> None:
    declared = re.findall(
        r'(?m)^ .*"([a-z0-9-]+)(?:\[grpc\])?>=([0-9.]+)"|^[a-z]+ = \["([a-z-]+)>=([0-9.]+)"\]',
        (ROOT / "client/pyproject.toml").read_text(),
    )
    pinned = dict(re.findall(r"(?m)^(.+)==(.+)$", (ROOT / "constraints-lowest.txt").read_text()))

    def padded(version: str) -> list[int]:
        return [*map(int, version.split(".")), 0, 0][:3]

    bounds = {a or b: padded(version or other) for a, version, b, other in declared}
    assert len(bounds) == 13
    pinned.pop("protobuf")  # what the lowest tritonclient takes
    assert {name: padded(version) for name, version in pinned.items()} == bounds


@pytest.mark.parametrize("part", PARTS)
def test_a_wheel_holds_all_that_git_holds(part: str, built: Built) -> None:
    archive = opened(built(part))
    packed = set(archive.namelist())
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"slimsam_{part}"],
        cwd=ROOT / part, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert len(files) > 5 and f"slimsam_{part}/py.typed" in files
    training = {name for name in files if re.fullmatch(r"slimsam_build/demo/\w+\.py", name)}
    assert {name for name in packed if name in files} == set(files) - training
    assert bool(training) is (part == "build")
    (license_file,) = (name for name in packed if name.endswith("/licenses/LICENSE"))
    assert archive.read(license_file) == (ROOT / "LICENSE").read_bytes()
    assert any(name.endswith("entry_points.txt") for name in packed)


@pytest.mark.parametrize("part", PARTS)
def test_the_metadata_say_what_it_is(part: str, built: Built) -> None:
    fields = metadata(built(part))
    assert fields["Name"] == f"slimsam-{part}" and fields["Version"] == __version__
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields.get_all("License-File") == ["LICENSE"]
    assert fields["Author"] == "SlimSAM-on-Triton contributors"
    assert fields["Author-email"] is None
    assert "segment-anything" in fields["Keywords"]
    links = dict(line.split(", ") for line in fields.get_all("Project-URL", []))
    assert sorted(links) == ["Changelog", "Documentation", "Issues", "Source"]
    assert all(link.startswith(links["Source"]) for link in links.values())
    for link in (links["Changelog"], links["Documentation"]):
        assert (ROOT / link.removeprefix(links["Source"] + "/blob/main/")).is_file()


@pytest.mark.parametrize("part", PARTS)
def test_the_classifiers_exist_and_name_the_pythons_that_it_runs_on(
    part: str, built: Built
) -> None:
    fields = metadata(built(part))
    given = fields.get_all("Classifier", [])
    assert sorted(given, key=natural) == given and set(given) <= known_classifiers
    pythons = [line.rpartition(" ")[2] for line in given if " :: Python :: " in line]
    takes = SpecifierSet(fields["Requires-Python"])
    newest = KNOWN_PYTHONS.index(pythons[-1]) + 1
    assert pythons == [version for version in KNOWN_PYTHONS[:newest] if version in takes]


def natural(text: str) -> list[str]:
    """3.9 is before 3.10."""
    return [part.zfill(4) for part in re.split(r"(\d+)", text)]


@pytest.mark.parametrize("part", PARTS)
def test_the_readme_is_whole_on_an_index(part: str, built: Built) -> None:
    fields = metadata(built(part))
    assert fields["Description-Content-Type"] == "text/markdown"
    text = fields.get_payload(decode=True).decode()
    assert text.startswith(f"# slimsam-{part}\n")
    source = next(
        line.split(", ")[1] for line in fields.get_all("Project-URL", []) if "Source" in line
    )
    for link in re.findall(r"(?<=\]\()[^)]+(?=\))", text):
        assert link.startswith(("https://", "#")), link
        if link.startswith(f"{source}/blob/main/"):
            path = link.removeprefix(f"{source}/blob/main/").partition("#")[0]
            assert (ROOT / path).exists(), link
    files = [*built(part).iterdir()]
    check = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("PASSED") == len(files) == 2, done.stdout


@pytest.mark.parametrize("part", PARTS)
def test_an_sdist_gives_the_same_wheel(part: str, built: Built, tmp_path: Path) -> None:
    (sdist,) = built(part).glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "again")
    again, first = opened(tmp_path / "again"), opened(built(part))
    assert {item.filename: item.CRC for item in again.infolist()} == {
        item.filename: item.CRC for item in first.infolist()
    }


def test_there_is_one_version() -> None:
    named = {
        path: re.findall(pattern, (ROOT / path).read_text())
        for path, pattern in {
            "build/pyproject.toml": r'"slimsam-[a-z]+(?:\[.*\])?==(.+)"',
            "server/pyproject.toml": r'"slimsam-[a-z]+(?:\[.*\])?==(.+)"',
            "gateway/pyproject.toml": r'"slimsam-[a-z]+(?:\[.*\])?==(.+)"',
            "CITATION.cff": r"(?m)^version: (.+)$",
            "docker/compose.yaml": r"image: slimsam-[a-z-]+:(\S+)",
            "docker/Dockerfile.build": r"-t slimsam-[a-z-]+:(\S+)",
            "docker/Dockerfile.cpu": r"-t slimsam-[a-z-]+:(\S+)",
            "docker/Dockerfile.gateway": r"-t slimsam-[a-z-]+:(\S+)",
            "docker/Dockerfile.server": r"-t slimsam-[a-z-]+:(\S+)",
        }.items()
    }
    assert [len(versions) for versions in named.values()] == [1, 1, 1, 1, 5, 1, 2, 1, 1]
    assert {version for versions in named.values() for version in versions} == {__version__}
