"""Versions of models that name the checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from slimsam_build.versions import add_versions, find_versions, remove_versions
from slimsam_client.contract import ENCODER, MODELS, OF_CHECKPOINT, model_version


@pytest.fixture
def repository(demo_repository: Path, tmp_path: Path) -> Path:
    return shutil.copytree(demo_repository, tmp_path / "copy", symlinks=True)


def versions(repository: Path) -> dict[str, list[str]]:
    return {
        spec.name: [path.name for path in find_versions(repository, spec.name)] for spec in MODELS
    }


def test_a_build_links_the_version_of_its_checkpoint(repository: Path) -> None:
    report = json.loads((repository / ENCODER.name / "1" / "model.xml.json").read_text())
    number = model_version(report["checkpoint"]["sha256"])
    expected = {spec.name: [number] if spec in OF_CHECKPOINT else [] for spec in MODELS}
    assert versions(repository) == expected
    assert (repository / ENCODER.name / number).readlink() == Path("1")
    remove_versions(repository)
    assert not any(versions(repository).values())
    add_versions(repository, pytest.fail)
    assert versions(repository) == expected


def test_a_copy_that_followed_the_links_is_built_in_again(repository: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(repository, tmp_path / "followed")
    assert versions(copy) == versions(repository)
    remove_versions(copy)
    assert not any(versions(copy).values())


def test_targets_of_two_checkpoints_have_no_such_version(repository: Path) -> None:
    folder = repository / ENCODER.name / "1"
    report = json.loads((folder / "model.xml.json").read_text())
    report["checkpoint"]["sha256"] = "0" * 64
    for content in (json.dumps(report), "[]", "{"):
        (folder / "model.pt.json").write_text(content)
        remove_versions(repository)
        said: list[str] = []
        add_versions(repository, said.append)
        assert not any(versions(repository).values())
        assert len(said) == 1 and "must not share an address" in said[0]


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64, "0123456789abcdef" * 4])
def test_a_version_is_one_that_triton_and_doubles_can_hold(digest: str) -> None:
    number = int(model_version(digest))
    assert 2**52 <= number < 2**53 and int(float(number)) == number


@pytest.mark.parametrize("digest", ["", "demo", "x" * 64])
def test_what_is_no_digest_has_the_version_that_says_nothing(digest: str) -> None:
    assert model_version(digest) == "1"
