"""The step before a server of a fleet, with the scripts of the images."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slimsam_build.machine import Machine, this_machine
from slimsam_build.prepare import key_of

DOCKER = Path(__file__).parents[2] / "docker"
BIN = Path(sys.executable).parent

# Its checks are real; what it would build has been built, which takes as long as the file is there.
BUILD = """#!/bin/sh
case "$*" in
"check "*) exec {command} "$@" ;;
esac
echo build >> {log}
while [ -e {pause} ]; do sleep 0.05; done
for last; do :; done
cp -R {made}/. "$last"
"""


class Fleet:
    """Machines that share a volume.

    Args:
        directory: has the volume, and what the images have.
        made: a repository with artifacts.
        empty: the same without.
    """

    def __init__(self, directory: Path, made: Path, empty: Path) -> None:
        self.volume = directory / "volume"
        self.pause = directory / "pause"
        self._log = directory / "log"
        self._directory = directory
        self._opt = directory / "opt"
        shutil.copytree(empty, self._opt / "model_repository")
        for name in ("build.sh", "prepare.sh"):
            shutil.copy2(DOCKER / name, self._opt)
        self.volume.mkdir()
        command = directory / "bin" / "slimsam-build"
        command.parent.mkdir()
        command.write_text(
            BUILD.format(command=BIN / command.name, log=self._log, pause=self.pause, made=made)
        )
        command.chmod(0o755)

    def start(self, pod: str, **settings: str) -> subprocess.Popen[str]:
        variables = {
            **os.environ,
            "PATH": f"{self._directory / 'bin'}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}",
            "SLIMSAM_VOLUME": str(self.volume),
            "SLIMSAM_MODELS": str(self.place(pod)),
            "SLIMSAM_CHECKPOINT": "demo",
            "SLIMSAM_TARGET": "openvino",
            **settings,
        }
        return subprocess.Popen(
            [self._opt / "prepare.sh"],
            env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def place(self, pod: str) -> Path:
        return self._directory / pod / "models"

    def builds(self) -> int:
        return self._log.read_text().count("build") if self._log.exists() else 0

    def repositories(self) -> list[Path]:
        return [path for path in self.volume.iterdir() if path.is_dir()]


@pytest.fixture
def fleet(tmp_path: Path, demo_repository: Path, empty_repository: Path) -> Fleet:
    return Fleet(tmp_path, demo_repository, empty_repository)


def first_line_with(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if text in line)


def finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return out


def test_of_two_pods_one_builds_and_both_serve_it(fleet: Fleet) -> None:
    fleet.pause.touch()
    first = fleet.start("first")
    first_line_with(first, "building")
    second = fleet.start("second")
    first_line_with(second, "is held; waiting for its end")
    fleet.pause.unlink()
    finish(first)
    assert "belong here" in finish(second)
    assert fleet.builds() == 1
    (repository,) = fleet.repositories()
    assert repository.name.startswith("openvino-fp32-")
    for pod in ("first", "second"):
        assert fleet.place(pod).resolve() == repository
    # A third asks for no lease, and another checkpoint is built beside the first.
    finish(fleet.start("third"))
    assert fleet.builds() == 1
    finish(fleet.start("third", SLIMSAM_CHECKPOINT="other"))
    assert fleet.builds() == 2 and len(fleet.repositories()) == 2
    assert fleet.place("third").resolve() != repository == fleet.place("first").resolve()


def test_a_pod_that_is_killed_is_taken_over_and_one_that_is_deleted_at_once(fleet: Fleet) -> None:
    fleet.pause.touch()
    killed = fleet.start("killed")
    first_line_with(killed, "building")
    killed.kill()
    deleted = fleet.start("deleted", SLIMSAM_LEASE_SECONDS="2")
    first_line_with(deleted, "building")
    deleted.send_signal(signal.SIGTERM)
    assert deleted.wait(timeout=60) == 128 + signal.SIGTERM
    last = fleet.start("last")  # with the lease of minutes that production has
    first_line_with(last, "building")
    fleet.pause.unlink()
    finish(last)
    for process in (killed, deleted):
        process.communicate()


def test_a_pod_that_stood_still_ends_its_build(fleet: Fleet) -> None:
    fleet.pause.touch()
    frozen = fleet.start("frozen", SLIMSAM_LEASE_SECONDS="2")
    first_line_with(frozen, "building")
    frozen.send_signal(signal.SIGSTOP)
    other = fleet.start("other", SLIMSAM_LEASE_SECONDS="2")
    first_line_with(other, "building")
    frozen.send_signal(signal.SIGCONT)
    _, error = frozen.communicate(timeout=60)
    assert frozen.returncode == 1 and "another pod has taken the lease; ending" in error
    assert not fleet.place("frozen").exists()
    fleet.pause.unlink()
    finish(other)
    assert fleet.place("other").resolve() in fleet.repositories()


def test_a_build_that_fails_is_said_and_leaves_the_lease_to_others(fleet: Fleet) -> None:
    failed = fleet.start("failed", SLIMSAM_CHECKPOINT="")
    _, error = failed.communicate(timeout=300)
    assert failed.returncode == 1
    assert "build.sh: expected status 0, got 1; its log says why" in error.splitlines()[-1]
    assert not fleet.place("failed").exists()
    wrong = fleet.start("wrong", SLIMSAM_LEASE_SECONDS="0")
    _, error = wrong.communicate(timeout=300)
    assert wrong.returncode == 2 and "expected seconds above 0, got 0" in error


H100 = Machine("10.13.3", "NVIDIA H100 80GB HBM3", "9.0", "580.1")


def test_what_a_repository_is_of(empty_repository: Path, tmp_path: Path) -> None:
    def key(machine: Machine = H100, checkpoint: str = "a/b", target: str = "tensorrt") -> str:
        return key_of(checkpoint, target, "fp16", empty_repository, machine)

    assert key().startswith("tensorrt-fp16-nvidia-h100-80gb-hbm3-")
    sliced = Machine("10.13.3", H100.gpu, "9.0", "580.1", "1g.10gb")
    others = [
        key(Machine("10.14.0", H100.gpu, "9.0", "580.1")),
        key(Machine("10.13.3", "NVIDIA L4", "8.9", "580.1")),
        key(sliced),
        key(checkpoint="a/b@1234"),
        key_of("a/b", "tensorrt", "fp32", empty_repository, H100),
    ]
    assert "-1g.10gb-" in key(sliced)
    assert len({key(), *others}) == 6
    assert key() == key(Machine("10.13.3", H100.gpu, "9.0", "590.9"))  # another driver
    processors = [
        key(replace(H100, instructions=words), target="torch_aoti")
        for words in ("avx2", "avx2 fma")
    ]
    assert len(set(processors)) == 2
    anywhere = key(target="openvino")
    assert anywhere == key(Machine(None, None, None, None), target="openvino")
    # Files of a directory count, and so do the configurations.
    (tmp_path / "weights").write_text("1")
    first = key(checkpoint=str(tmp_path))
    (tmp_path / "weights").write_text("2")
    assert key(checkpoint=str(tmp_path)) != first
    config = empty_repository / "slimsam_encoder" / "config.pbtxt"
    config.write_text(config.read_text() + "# changed\n")
    assert key(target="openvino") != anywhere


NVIDIA_SMI = """#!/bin/sh
case "$1" in
-L)
  echo "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6)"
  echo "  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef)" ;;
*) echo "NVIDIA A100-SXM4-40GB, 8.0, 580.1" ;;
esac
"""


def test_a_slice_of_a_gpu_is_told_from_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NVIDIA's documentation of MIG shows nvidia-smi's list: not run on one."""
    program = tmp_path / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = this_machine()
    assert (found.gpu, found.slice) == ("NVIDIA A100-SXM4-40GB", "1g.5gb")
