"""`slimsam-build check`: what is stale is named, with the reason."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from slimsam_build.check import find_stale
from slimsam_build.checkpoints import DEMO
from slimsam_build.cli import main
from slimsam_build.digest import sha256_of
from slimsam_build.machine import Machine, this_machine
from slimsam_build.repository import ARTIFACTS, BUILT, max_batch_size
from slimsam_build.versions import find_versions
from slimsam_build.wanted import Wanted
from slimsam_client.contract import DECODER, ENCODER, INFO

HERE = Machine("10.13.3", "NVIDIA H200", "9.0", "580.1", None, "x86_64", "avx avx2 fma")


@pytest.fixture
def repository(demo_repository: Path, tmp_path: Path) -> Path:
    return shutil.copytree(demo_repository, tmp_path / "copy", symlinks=True)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def info(decoder: Path) -> Path:
    """What slimsam_info hands out of this target."""
    return decoder.parents[1] / INFO.name / "1" / "openvino.json"


def as_bound(repository: Path, target: str) -> None:
    """Give the repository files in the place of a target's, with reports that bind them to HERE."""
    name = ARTIFACTS[target][0]
    for spec in BUILT:
        folder = repository / spec.name / "1"
        (folder / name).write_bytes(b"artifact of " + spec.name.encode())
        shutil.copy(folder / "model.xml.json", folder / f"{name}.json")
        digest = sha256_of(folder / name)

        rows = max_batch_size(repository, spec, target)

        def bind(report: dict, digest: str = digest, rows: int = rows) -> None:
            report["files"] = {name: {"sha256": digest}}
            report["max_batch_size"] = rows
            report["bound_to"] = vars(HERE)

        edit(folder / f"{name}.json", bind)
    told = repository / INFO.name / "1"
    for file in ("openvino.json", "openvino.npz"):
        shutil.copy(told / file, told / file.replace("openvino", target))


def test_what_was_built_here_is_not_stale(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_stale(repository, "openvino", this_machine()) == []
    assert main(["check", "--model-repository", str(repository)]) == 0
    assert "belong here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (lambda d: (d / "model.bin").unlink(), "model.bin: missing"),
        (
            lambda d: d.with_name("5812345678901234").symlink_to("1"),
            "slimsam_decoder/5812345678901234: names another checkpoint",
        ),
        (lambda d: (d / "model.bin").write_bytes(b"other"), "model.bin: differs from the file"),
        (lambda d: (d / "model.xml").unlink(), "model.xml: missing"),
        (lambda d: (d / "model.xml.json").unlink(), "model.xml: has no readable report"),
        (lambda d: (d / "model.xml.json").write_text("[]"), "model.xml: has no readable report"),
        (
            lambda d: edit(d / "model.xml.json", lambda r: r.update(files={"model.bin": None})),
            "model.xml: has no readable report",
        ),
        (
            lambda d: edit(d / "model.xml.json", lambda r: r.update(bound_to=["GPU"])),
            "model.xml: has no readable report",
        ),
        (
            lambda d: edit(d / "model.xml.json", lambda r: r.update(max_batch_size=4)),
            "made for max_batch_size 4, its configuration says 1",
        ),
        (
            lambda d: edit(d / "model.xml.json", lambda r: r["checkpoint"].update(sha256="0")),
            "build both from one checkpoint",
        ),
        (
            lambda d: edit(d / "model.xml.json", lambda r: r.update(precision="bf16")),
            "the encoder of one build and slimsam_decoder of another",
        ),
        (
            lambda d: edit(d / "model.xml.json", lambda r: r["seconds"].update(encode=0.0)),
            "the encoder of one build and slimsam_decoder of another",
        ),
        (lambda d: edit(info(d), lambda i: i.update(digest="0")), "tells of another build"),
        (lambda d: edit(info(d), lambda i: i.update(precision="bf16")), "tells of another build"),
        (lambda d: info(d).write_text("[]"), "cannot be read, TypeError"),
        (lambda d: info(d).unlink(), "openvino.json: missing; build it again"),
        (lambda d: info(d).with_suffix(".npz").unlink(), "openvino.npz: missing; build it again"),
        (
            lambda d: info(d).with_suffix(".npz").write_bytes(b"cut off"),
            "openvino.npz: differs from the file whose hash openvino.json has",
        ),
        (
            lambda d: edit(info(d), lambda i: i.pop("reference_sha256")),
            "openvino.json: has no hash of openvino.npz; build it again",
        ),
        (
            lambda d: (d.parent / "configs" / "openvino.pbtxt").write_text("max_batch_size: x"),
            "expected a Triton model configuration",
        ),
    ],
    ids=[
        "file",
        "version",
        "hash",
        "artifact",
        "report",
        "no report",
        "bad files",
        "bad machine",
        "config",
        "checkpoint",
        "precision",
        "build",
        "digest of info",
        "precision of info",
        "bad info",
        "no info",
        "no answer",
        "other answer",
        "answer of an older build",
        "bad config",
    ],
)
def test_each_difference_is_one_line(
    repository: Path,
    break_it: Callable[[Path], object],
    found: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_it(repository / DECODER.name / "1")
    assert main(["check", "--model-repository", str(repository), "--target", "openvino"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("stale: ") and found in lines[0]


@pytest.mark.parametrize(
    ("target", "here", "found"),
    [
        ("tensorrt", replace(HERE, tensorrt="11.1.0"), "for TensorRT 10.13.3, here is 11.1.0"),
        ("tensorrt", replace(HERE, gpu="L4"), "made for GPU NVIDIA H200, here is L4"),
        ("tensorrt", Machine(None, None, None, None), "here is none"),
        ("torch_aoti", replace(HERE, compute_capability="8.9"), "capability 9.0, here is 8.9"),
        ("torch_aoti", HERE.without_gpu(), "made for compute capability 9.0, here is none"),
        ("torch_aoti", replace(HERE, architecture="aarch64"), "x86_64, here is aarch64"),
        ("torch_aoti", replace(HERE, instructions="avx fma"), "avx2, which the one here has not"),
    ],
)
def test_what_a_machine_compiled_is_bound_to_it(
    repository: Path, target: str, here: Machine, found: str
) -> None:
    as_bound(repository, target)
    assert find_stale(repository, target, HERE) == []
    more = replace(HERE, instructions="avx avx2 avx512f fma", driver="590.9")
    assert find_stale(repository, target, more) == []
    stale = find_stale(repository, target, here)
    assert len(stale) >= len(BUILT) and any(found in line for line in stale)
    assert find_stale(repository, "openvino", here) == []


def test_a_package_whose_report_names_no_machine(repository: Path) -> None:
    as_bound(repository, "torch_aoti")
    edit(
        repository / DECODER.name / "1" / "model.pt2.json",
        lambda report: report.update(bound_to=None),
    )
    (line,) = find_stale(repository, "torch_aoti", HERE)
    assert "made for a machine that their report does not name; build it here" in line


def test_what_is_asked_for_is_compared_with_what_was(repository: Path, tmp_path: Path) -> None:
    report = repository / ENCODER.name / "1" / "model.xml.json"

    def found(checkpoint: str | None, precision: str | None = None) -> str:
        return "\n".join(find_stale(repository, "openvino", HERE, Wanted(checkpoint, precision)))

    weights = shutil.copytree(DEMO, tmp_path / "weights")
    assert found("demo", "fp32") == found(str(weights)) == ""  # of a directory its files count
    config = weights / "config.json"
    config.write_text(config.read_text() + "\n")
    assert "was made of other files than" in found(str(weights))
    config.unlink()
    assert "expected to compare it with checkpoint" in found(str(weights))
    assert "was made of demo, expected owner/sam;" in found("owner/sam")

    commit = f"owner/sam@{'1' * 40}"
    edit(report, lambda r: r["checkpoint"].update(name=commit, asked="owner/sam@v1"))
    assert found("owner/sam@v1") == found(commit) == ""
    for other in ("owner/sam", "owner/sam@v2", "demo"):
        assert f"was made of {commit}, expected {other};" in found(other)

    assert "is in precision fp32, expected fp16;" in found(None, "fp16")
    edit(report, lambda r: r.update(asked_precision="fp16"))  # which failed the gate
    assert found(None, "fp16") == found(None, "fp32") == ""

    edit(report, lambda r: r["versions"].update({"slimsam-build": "0.0.9"}))
    assert found(None) == ""  # a server serves what an older release has built
    assert "was made by slimsam-build 0.0.9, here is" in found(commit)


def test_versions_that_a_copy_has_as_directories_are_looked_at(
    demo_repository: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(demo_repository, tmp_path / "copy")  # which follows the links
    assert find_stale(copy, "openvino", HERE) == []
    (version,) = find_versions(copy, DECODER.name)
    (version / "model.bin").write_bytes(b"other")
    (line,) = find_stale(copy, "openvino", HERE)
    assert f"{version / 'model.bin'}: differs from the file that its report measured" in line
    shutil.rmtree(version)
    version.symlink_to("nowhere")
    stale = find_stale(copy, "openvino", HERE)
    assert stale and all(f"{version}/model." in line and "missing" in line for line in stale)


def test_a_target_that_was_not_built(repository: Path) -> None:
    stale = find_stale(repository, "torchscript", HERE)
    assert len(stale) == len(BUILT) and all("build target torchscript" in line for line in stale)


def test_no_artifacts(empty_repository: Path) -> None:
    assert find_stale(empty_repository, None, HERE) == [
        f"{empty_repository}: has no artifacts; run slimsam-build build"
    ]


def no_package(name: str) -> str:
    raise PackageNotFoundError(name)


def test_tensorrt_of_nvidias_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimsam_build.machine.version", no_package)
    monkeypatch.setenv("TRT_VERSION", "10.13.3.9+cuda13.0")
    monkeypatch.setenv("PATH", "/nowhere")
    found = this_machine()
    assert found.tensorrt == "10.13.3" and found == found.without_gpu()


def test_tensorrt_by_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("slimsam_build.machine.version", no_package)
    monkeypatch.delenv("TRT_VERSION", raising=False)
    monkeypatch.setattr("slimsam_build.machine.LIBRARIES", (tmp_path,))
    monkeypatch.setenv("PATH", "/nowhere")
    assert this_machine().tensorrt is None
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libnvinfer.so.10").touch()
    (tmp_path / "lib" / "libnvinfer.so.10.13.3").touch()
    assert this_machine().tensorrt == "10.13.3"


@pytest.mark.parametrize(
    ("told", "instructions"),
    [
        ("flags\t\t: fpu vme sse4_2 ibrs avx2 fma pti amx_tile\n", "amx_tile avx2 fma sse4_2"),
        ("Features\t: fp asimd sve2\n", "asimd fp sve2"),
        ("model name\t: something else\n", ""),
    ],
    ids=["x86", "ARM", "another"],
)
def test_the_instructions_of_a_processor(
    told: str, instructions: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{told}\nprocessor\t: 1\n{told}")
    monkeypatch.setattr("slimsam_build.machine.PROCESSOR", tmp_path / "cpuinfo")
    assert this_machine().instructions == instructions


def test_checking_needs_nothing_that_builds(demo_repository: Path) -> None:
    heavy = ("torch", "transformers", "huggingface_hub", "openvino", "onnx")
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({heavy}))\n"  # importing them raises ImportError
        "from slimsam_build.cli import main\n"
        f"sys.exit(main(['check', '--model-repository', {str(demo_repository)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
